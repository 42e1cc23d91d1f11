"""``orch users``: accounts, grants and balances; what is wrong changes nothing."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Orch


def available(orch: Orch, user: str = "ana", *more: str) -> int:
    return int(json.loads(orch("users", "balance", user, "--json", *more).out)["available"])


def test_a_balance_in_a_pipe_is_separated_by_tabs(orch: Orch) -> None:
    header, line = orch("users", "balance", "ana").out.splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True)) == {
        "USER": "ana",
        "NAMESPACE": "app",
        "PLAN": "free",
        "AVAILABLE": "25",
        "HELD": "0",
        "BALANCE": "25",
    }


def test_a_user_starts_with_what_the_plan_grants_unless_told_otherwise(orch: Orch) -> None:
    assert orch("users", "create", "ben").code == 0
    assert orch("users", "create", "eve", "--energy", "7", "--namespace", "shop").code == 0
    assert available(orch, "ben") > 0
    assert available(orch, "eve", "--namespace", "shop") == 7


def test_a_user_who_exists_is_left_alone(orch: Orch) -> None:
    ran = orch("users", "create", "ana", "--energy", "1000")
    assert ran.code == 2
    assert "exists" in ran.err
    assert available(orch) == 25


def test_an_unknown_plan_is_refused_and_the_known_are_named(orch: Orch) -> None:
    ran = orch("users", "create", "ben", "--plan", "gold")
    assert ran.code == 2
    assert "free" in ran.err
    assert orch("users", "balance", "ben").code == 2


def test_a_grant_adds_points_and_its_reference_counts_once(orch: Orch) -> None:
    grant = ("users", "grant", "ana", "5", "--reason", "thank you", "--ref", "invoice-7")
    assert [orch(*grant).code, orch(*grant).code] == [0, 0]
    assert available(orch) == 30


def test_a_reference_used_for_another_amount_is_an_error(orch: Orch) -> None:
    orch("users", "grant", "ana", "5", "--ref", "invoice-7")
    assert orch("users", "grant", "ana", "6", "--ref", "invoice-7").code == 2
    assert available(orch) == 30


@pytest.mark.parametrize("points", ["0", "-5", "1.5", "1e3", "", "abc", "1000000000001", "9" * 40, "nan"])
def test_points_that_are_no_points_change_nothing(orch: Orch, points: str) -> None:
    assert orch("users", "grant", "ana", points).code == 2
    assert orch("users", "create", "ben", f"--energy={points}").code == 2
    assert available(orch) == 25
    assert orch("users", "balance", "ben").code == 2


def test_an_unknown_user_gets_nothing(orch: Orch) -> None:
    ran = orch("users", "grant", "bob", "5")
    assert ran.code == 2
    assert "orch users create" in ran.err


@pytest.mark.parametrize("user", ["", " ", "a\nb", "x" * 201])
def test_a_user_id_that_is_none_is_refused(orch: Orch, user: str) -> None:
    assert orch("users", "create", user).code == 2
    assert orch("users", "balance", user).code == 2
