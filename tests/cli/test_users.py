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


def users(orch: Orch, *options: str) -> list[str]:
    return [row["user"] for row in json.loads(orch("users", "list", "--json", *options).out)]


def test_users_are_listed_in_the_order_of_their_names(orch: Orch) -> None:
    for name, namespace in (("zoe", "app"), ("ben", "app"), ("ana", "shop")):
        orch("users", "create", name, "--energy", "7", "--namespace", namespace)
    assert users(orch) == ["ana", "ben", "zoe", "ana"]
    assert users(orch, "--namespace", "shop") == ["ana"]
    assert users(orch, "--limit", "2") == ["ana", "ben"]
    assert users(orch, "--after", "app/ben") == ["zoe", "ana"]
    assert users(orch, "--limit", "1", "--all") == ["ana", "ben", "zoe", "ana"]
    ran = orch("users", "list", "--limit", "3")
    assert ran.out.splitlines()[1].split("\t")[:6] == ["ana", "app", "free", "25", "0", "25"]
    assert ran.err == "There are more: --after app/zoe\n"


def test_a_user_is_shown_with_grants_and_keys(orch: Orch) -> None:
    orch("users", "grant", "ana", "5", "--reason", "thank you", "--ref", "invoice-7")
    made = json.loads(orch("keys", "create", "--user", "ana", "--json").out)["facts"]["id"]
    revoked = json.loads(orch("keys", "create", "--user", "ana", "--json").out)["facts"]["id"]
    orch("keys", "revoke", revoked)
    told = json.loads(orch("users", "show", "ana", "--json").out)
    assert (told["available"], told["keys"]) == (30, [made])
    assert [(grant["amount"], grant["reason"]) for grant in told["grants"]] == [(25, None), (5, "thank you")]
    out = orch("users", "show", "ana").out
    assert f"keys\t{made}\n" in out
    assert "\tinvoice-7\t" in out
    assert orch("users", "show", "zoe").code == 2


def test_every_change_of_the_energy_is_in_the_history_newest_first(orch: Orch) -> None:
    orch("users", "grant", "ana", "5")
    orch("users", "grant", "ana", "6")
    told = json.loads(orch("users", "history", "ana", "--json").out)
    assert [(entry["points"], entry["balance_after"]) for entry in told] == [(6, 36), (5, 30), (25, 25)]
    ran = orch("users", "history", "ana", "--limit", "1")
    assert ran.out.splitlines()[1].split("\t")[3:5] == ["6", "36"]
    rest = orch("users", "history", "ana", "--before", str(told[0]["seq"]), "--json")
    assert json.loads(rest.out) == told[1:]
    assert ran.err == f"There are more: --before {told[0]['seq']}\n"
    assert len(json.loads(orch("users", "history", "ana", "--limit", "1", "--all", "--json").out)) == 3
    assert orch("users", "history", "zoe").code == 2


def test_an_erased_user_is_nobody_and_the_books_balance(orch: Orch) -> None:
    key = json.loads(orch("keys", "create", "--user", "ana", "--json").out)["facts"]["id"]
    done = json.loads(orch("users", "erase", "ana", "--yes", "--json").out)
    assert done["keys"] == [key]
    assert orch("users", "balance", "ana").code == 2
    assert users(orch) == [done["pseudonym"]]
    assert available(orch, done["pseudonym"]) == 25
    assert orch("ledger", "verify").code == 0
    assert orch("users", "erase", "nobody", "--yes").code == 2


def test_nobody_is_erased_unasked(orch: Orch) -> None:
    ran = orch("users", "erase", "ana")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert available(orch) == 25
