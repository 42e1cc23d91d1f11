"""Our response headers, and request headers as text."""

from __future__ import annotations

import pytest

from proxy.call import Deployment, Head, Outcome, Receipt, Usage
from proxy.edge.headers import answer_headers, check_once, receipt_headers, request_headers, usd
from proxy.errors import BadRequest
from proxy.testing import fake_call


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1500, "0.0000015"),
        (10**9, "1"),
        (2_500_000_000, "2.5"),
        (12_000_000_010, "12.00000001"),
    ],
)
def test_nano_dollars_are_shown_exactly(nanousd: int, shown: str) -> None:
    assert usd(nanousd) == shown


def test_a_header_we_act_on_may_not_come_twice() -> None:
    with pytest.raises(BadRequest, match="more than one x-orch-user"):
        check_once([(b"x-orch-user", b"ana"), (b"x-orch-user", b"ben")])


def test_other_headers_may_come_twice() -> None:
    twice = [(b"accept", b"a"), (b"accept", b"b")]
    check_once(twice)
    assert request_headers(twice) == {"accept": "a"}


def test_header_text_is_utf8_where_it_can_be() -> None:
    assert request_headers([(b"x-orch-user", "zoë".encode())]) == {"x-orch-user": "zoë"}
    assert request_headers([(b"x-orch-user", "zoë".encode("latin-1"))]) == {"x-orch-user": "zoë"}


def test_a_models_name_cannot_break_the_header_it_is_shown_in() -> None:
    head = Head("evil\r\nset-cookie: x", Deployment(upstream="u", provider="p", model="m"), "gpt-4o")
    headers = dict(answer_headers(fake_call(), head))

    assert headers[b"x-orch-model"] == b"evil??set-cookie: x"
    assert headers[b"x-orch-downgraded-from"] == b"gpt-4o"


def test_the_receipt_says_what_was_charged_what_is_left_and_what_it_cost() -> None:
    outcome = Outcome(
        model="m",
        deployment=Deployment(upstream="u", provider="p", model="m"),
        usage=Usage(input_tokens=1, output_tokens=1),
        cost_nanousd=1500,
    )

    assert dict(receipt_headers(Receipt(10, 15), outcome)) == {
        b"x-orch-energy-charged": b"10",
        b"x-orch-energy-remaining": b"15",
        b"x-orch-cost-usd": b"0.0000015",
    }
