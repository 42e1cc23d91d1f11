"""Which calls are wanted, and how one is shown."""

from __future__ import annotations

import pytest

from proxy.call import How
from proxy.cli.callrows import COLUMNS, ending, keeps, listed, outcome, whole, whose
from proxy.errors import BadRequest
from proxy.journal.listing import CallFilter

ROW = {
    "id": "c1",
    "account": "app/ana",
    "requested_model": "gpt-4o",
    "model": "gpt-4o-mini",
    "downgraded_from": "gpt-4o",
    "action": None,
    "state": "closed",
    "how": "answered",
    "error": None,
    "points_charged": 10,
    "points_refunded": 4,
    "input_tokens": 5,
    "output_tokens": 8,
    "cost_nanousd": 1500,
    "duration_ms": 12,
    "created_at": 0,
    "attempts": '[{"status": 200}]',
    "finish_reasons": None,
    "stream": 1,
    "usage_estimated": 0,
}


def test_a_user_is_one_of_an_application() -> None:
    assert whose(None, None) == CallFilter()
    assert whose(None, "shop") == CallFilter(namespace="shop")
    assert whose("ana", None) == CallFilter(account="app/ana")
    assert whose("ana", "shop") == CallFilter(account="shop/ana")
    with pytest.raises(BadRequest, match="namespace"):
        whose("ana", "No Such")


@pytest.mark.parametrize("how", How)
def test_every_way_a_call_ends_can_be_asked_for(how: How) -> None:
    assert ending(how.value) == {"how": how.value}


def test_calls_that_have_not_ended_are_told_apart() -> None:
    assert outcome(None) == {}
    assert outcome("open") == {"state": "open"}
    assert outcome("refused") == {"state": "refused"}
    with pytest.raises(BadRequest, match="have not ended"):
        ending("open")


@pytest.mark.parametrize(
    ("word", "says"), [("anwered", "did you mean 'answered'"), ("xyz", "use one of open, refused")]
)
def test_a_word_that_is_no_outcome_is_refused_with_what_is(word: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        outcome(word)


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (CallFilter(), True),
        (CallFilter(account="app/ben"), True),  # known from the beginning: the ledger looked at it
        (CallFilter(model="gpt-4o-mini", state="closed", how="answered"), True),
        (CallFilter(model="gpt-4o"), False),
        (CallFilter(how="failed"), False),
        (CallFilter(error="x"), False),
    ],
)
def test_what_is_known_at_the_end_only_is_looked_at_then(wanted: CallFilter, kept: bool) -> None:
    assert keeps(wanted, ROW) is kept


def test_a_call_is_one_row() -> None:
    shown = dict(zip(COLUMNS, listed(ROW), strict=True))
    assert shown["model"] == "gpt-4o-mini (for gpt-4o)"
    assert shown["points"] == 6
    assert (shown["tokens"], shown["usd"], shown["outcome"]) == ("5+8", "0.0000015", "answered")
    refused = {**ROW, "model": None, "downgraded_from": None, "how": None, "state": "refused", "input_tokens": None}
    shown = dict(zip(COLUMNS, listed(refused), strict=True))
    assert (shown["model"], shown["outcome"], shown["tokens"]) == ("gpt-4o", "refused", None)


def test_a_call_in_full_has_no_texts_of_json() -> None:
    told = whole(ROW)
    assert told["attempts"] == [{"status": 200}]
    assert told["finish_reasons"] is None
    assert (told["stream"], told["usage_estimated"]) == (True, False)
