"""A question of a request: unknown names, wrong types and values out of range are told in the words of HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.edge.admin.asking import FIELDS_MAX, query, question
from proxy.edge.admin.questions import ListCalls, ListUsers, OpenUser, ReportUsage
from proxy.errors import BadRequest
from proxy.journal.admin import GivePoints
from proxy.keys import NewKey


def refusal(shape: type[Any], given: dict[str, Any]) -> tuple[str, str | None, str]:
    with pytest.raises(BadRequest) as refused:
        question(shape, given)
    return refused.value.reason, refused.value.param, refused.value.message


@pytest.mark.parametrize("points", [0, -1, 10**12 + 1, 1.5, "7", True, None, "many"])
def test_points_are_whole_numbers_in_their_bounds(points: object) -> None:
    reason, param, message = refusal(GivePoints, {"user": "ana", "points": points})

    assert (reason, param) in (("invalid_value", "points"), ("invalid_type", "points"))
    assert message.startswith("Invalid 'points': it must be a whole number from 1 to 1000000000000")


def test_what_was_given_is_shown_where_it_is_short() -> None:
    assert refusal(GivePoints, {"user": "ana", "points": -5})[2].endswith(", not -5.")
    assert refusal(GivePoints, {"user": "ana", "points": "x" * 100})[2].endswith("1000000000000.")


def test_a_misspelt_name_is_told_before_all_else() -> None:
    wrong = {"user": "ana", "point": 5}

    assert refusal(GivePoints, wrong) == (
        "unknown_parameter",
        "point",
        "Unknown parameter: 'point'; did you mean 'points'?",
    )


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    _, _, message = refusal(ListUsers, {"quux": "1"})

    assert message == "Unknown parameter: 'quux'. There are after, limit, namespace."


def test_what_is_missing_is_named() -> None:
    assert refusal(OpenUser, {"points": 5})[:2] == ("missing_required_parameter", "user")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"user": ""}, "user is empty"),
        ({"user": "a\nb"}, "control character"),
        ({"user": "\ud800"}, "user"),
        ({"user": "x" * 201}, "201 characters"),
        ({"user": "ana", "namespace": "No"}, "namespace 'No' is not valid"),
        ({"user": ["ana"]}, "'user'"),
        ({"user": "ana", "plan": "\ud800"}, "'plan'"),
    ],
)
def test_names_that_are_none_are_refused(given: dict[str, Any], part: str) -> None:
    assert part in refusal(OpenUser, given)[2]


def test_a_place_in_a_list_is_named() -> None:
    reason, param, _ = refusal(NewKey, {"role": "service", "operations": ["chat", "sing"]})

    assert (reason, param) == ("invalid_value", "operations[1]")


def test_a_hostile_name_is_shown_short_and_as_ascii() -> None:
    _, param, message = refusal(ListUsers, {"\n\u202e" * 1000: 1})

    assert message.isascii()
    assert message.isprintable()
    assert param is not None
    assert len(message) < 400


def test_a_query_becomes_a_question() -> None:
    asked = question(ReportUsage, query(ReportUsage, b"by=user&by=day&since=1700000000000&namespace=app"))

    assert (asked.by, asked.since, asked.namespace) == (("user", "day"), 1_700_000_000_000, "app")
    assert query(ListUsers, b"after=app/%C3%A4+b%2Fc") == {"after": "app/ä b/c"}
    assert query(ListUsers, b"limit=") == {"limit": ""}


def test_a_name_that_comes_twice_in_a_query_is_refused() -> None:
    with pytest.raises(BadRequest, match="'user' more than once"):
        query(ListCalls, b"user=ana&user=ben")


def test_a_query_has_a_largest_number_of_names() -> None:
    with pytest.raises(BadRequest, match="more than 100 parameters"):
        query(ListCalls, b"&".join([b"a=1"] * (FIELDS_MAX + 1)))


@pytest.mark.parametrize("limit", ["0", "501", "1_0", " 10", "+5", "1e2", "ten", "", "9" * 30])
def test_numbers_of_a_query_are_written_in_digits(limit: str) -> None:
    assert refusal(ListUsers, {"limit": limit})[2].startswith(
        "Invalid 'limit': it must be a whole number from 1 to 500"
    )


def test_a_group_that_is_none_is_refused() -> None:
    assert refusal(ReportUsage, {"by": ["moon"]})[1] == "by[0]"
