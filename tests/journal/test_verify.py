"""Every invariant can fail: a book that was tampered with is named by the row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from time import gmtime, strftime

import pytest

from proxy.journal.sqlite import open_sqlite, read_only
from proxy.journal.verify import INVARIANTS
from tests.journal.contract import USER, answered, fresh_database, grant, offer, reserve

BREAKS = {
    "balance is the sum of its entries": ("UPDATE accounts SET balance = balance + 1", USER),
    "balance is the sum of its unclosed grants": ("UPDATE grants SET remaining = remaining - 1 WHERE id = 2", USER),
    "held is the sum of its open calls": ("UPDATE accounts SET held = held - 1", USER),
    "held is within the balance": ("UPDATE accounts SET held = 1000", USER),
    "a grant keeps between nothing and its amount, and nothing once closed": (
        "UPDATE grants SET closed_at = 1 WHERE id = 2",
        "2",
    ),
    "a grant is the sum of its entries": ("UPDATE grants SET remaining = remaining - 1 WHERE id = 2", "2"),
    "an entry's balance is the sum of the entries up to it": (
        "UPDATE entries SET balance_after = 0 WHERE seq = 3",
        "3",
    ),
    "a call's charge is what was settled, within its hold": (
        "UPDATE calls SET points_charged = 9 WHERE id = 'settled'",
        "settled",
    ),
    "a call's refund is what was given back, within its charge": (
        "UPDATE calls SET points_refunded = 0 WHERE id = 'refunded'",
        "refunded",
    ),
    "a call is closed once": ("UPDATE calls SET closed_at = NULL WHERE id = 'settled'", "settled"),
    "an entry is of the payer of its call and its grant": (
        "UPDATE entries SET account = 2 WHERE seq = 3",
        "3",
    ),
    "a call has an account unless it was refused": ("UPDATE calls SET payer = NULL WHERE id = 'open'", "open"),
    "an open call has a living owner": ("UPDATE calls SET owner = 'gone' WHERE id = 'open'", "open"),
    "entries without a call are what pruned calls were charged": (
        "DELETE FROM calls WHERE id = 'settled'",
        f"1 {strftime('%Y-%m', gmtime())}",
    ),
    "entries without a call are what pruned calls were given back": ("DELETE FROM calls WHERE id = 'refunded'", "1"),
}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A ledger in which everything has happened once."""
    path = fresh_database(tmp_path)
    store = await open_sqlite(path, durability="relaxed", owner="me")
    await store.reserve(reserve("settled", offer(10)))
    await store.grant(grant(50))
    await store.close(answered("settled", 10))
    await store.reserve(reserve("refunded", offer(20)))
    await store.close(answered("refunded", 20))
    await store.withdraw("refunded")
    await store.reserve(reserve("bob", offer(1), account="main/bob"))
    await store.reserve(reserve("open", offer(5)))
    await store.reserve(reserve("also open", offer(5)))
    assert await store.verify() == []
    await store.aclose()
    return path


def test_every_invariant_is_broken_below() -> None:
    assert set(BREAKS) == set(INVARIANTS)


@pytest.mark.parametrize("invariant", BREAKS)
async def test_a_book_that_was_tampered_with_is_named_by_the_row(path: Path, invariant: str) -> None:
    statement, row = BREAKS[invariant]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entries_no_update")
        connection.execute("PRAGMA ignore_check_constraints = on")
        assert connection.execute(statement).rowcount > 0
    async with read_only(path) as reader:
        found = await reader.verify()
    assert [violation.row for violation in found if violation.invariant == invariant][:1] == [row]
    assert all(violation.detail for violation in found)


async def test_an_entry_nobody_accounts_for_breaks_the_balance(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO entries (op_ref, account, grant_id, kind, points, balance_after, at)"
            " VALUES ('forged', 1, 1, 'grant', 5, 60, 1)"
        )
    async with read_only(path) as reader:
        broken = {violation.invariant for violation in await reader.verify()}
    assert "balance is the sum of its entries" in broken


async def test_a_call_that_closes_during_the_verification_is_no_mistake(path: Path) -> None:
    store = await open_sqlite(path, durability="relaxed", owner="me")
    await store.reserve(reserve("busy", offer(3)))
    verified = store.verify()
    closed = store.close(answered("busy", 3))
    assert await verified == []
    await closed
    await store.aclose()
