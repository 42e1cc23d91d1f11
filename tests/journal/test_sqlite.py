"""The ledger in a file: settings, two owners, the append-only entries, the view, recovery."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from proxy.call import Opening, Usage
from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.clock import Clock, unix_ms
from proxy.journal.port import Closed, Refuse
from proxy.journal.reader import SqliteReader
from proxy.journal.sqlite import SqliteStore, connect, open_sqlite
from proxy.journal.writer import Writer
from proxy.testing import fake_call
from tests.journal.contract import USER, answered, facts, fresh_database, grant, offer, reserve
from tests.journal.test_hold import OFFERS, OPENING, charge, journal, outcome

Opener = Callable[..., Awaitable[SqliteStore]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return fresh_database(tmp_path)


@pytest.fixture
async def opening() -> AsyncIterator[Opener]:
    """Opens stores and closes them, also when the test fails: an open one keeps the process from ending."""
    async with AsyncExitStack() as stack:

        async def opened(path: Path, owner: str, now_ms: Callable[[], int] = unix_ms) -> SqliteStore:
            store = await open_sqlite(path, durability="relaxed", owner=owner, now_ms=now_ms)
            stack.push_async_callback(store.aclose)
            return store

        yield opened


@pytest.fixture
async def store(path: Path, opening: Opener) -> AsyncIterator[SqliteStore]:
    made = await opening(path, "me")
    yield made
    assert await made.verify() == []


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(("durability", "synchronous"), [("strict", 2), ("relaxed", 1)])
def test_the_writing_connection_has_what_it_promises(
    path: Path, durability: Literal["strict", "relaxed"], synchronous: int
) -> None:
    with closing(connect(path, durability)) as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in asked] == ["wal", synchronous, 1, 1000]


def test_a_file_that_vanished_does_not_come_back_empty(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "gone.db", "strict")
    assert not (tmp_path / "gone.db").exists()


async def test_a_new_file_is_made_in_a_folder_of_its_own_for_its_owner_only(tmp_path: Path) -> None:
    new = tmp_path / "data dir" / "orch #1%.db"
    store = await open_sqlite(new, durability="strict", owner="me")
    await store.reserve(reserve("c1"))
    await store.aclose()
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert rows(new, "SELECT id FROM calls") == [("c1",)]


def test_the_proxy_never_loads_sqlalchemy() -> None:
    code = "import sys, proxy.journal.sqlite, proxy.journal.hold; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_calls_another_owner_left_open_are_closed_at_once_for_their_price_if_unknown(
    path: Path, opening: Opener
) -> None:
    gone = await opening(path, "gone")
    await gone.reserve(reserve("free", offer(10)))
    await gone.reserve(reserve("paid", offer(10, if_unknown=4)))
    await gone.reserve(reserve("closed", offer(5)))
    await gone.close(answered("closed", 5))
    new = await opening(path, "new")
    for call_id, charged in (("free", 0), ("paid", 4), ("closed", 5)):
        row = await new.call(call_id)
        assert row is not None
        assert (row["state"], row["how"], row["points_charged"]) == (
            "closed",
            "answered" if call_id == "closed" else "unknown",
            charged,
        )
    balance = await new.balance(USER)
    assert balance is not None
    assert (balance.balance, balance.held) == (16, 0)
    assert await new.verify() == []
    assert await gone.close(answered("paid", 10)) == Closed(charged=4, remaining=16, already=True)
    await gone.aclose()
    await new.aclose()


async def test_more_open_calls_than_one_transaction_takes_are_all_closed(path: Path, opening: Opener) -> None:
    gone = await opening(path, "gone")
    await asyncio.gather(*(gone.reserve(reserve(f"c{n}", offer(0))) for n in range(1001)))
    await gone.aclose()
    new = await opening(path, "new")
    assert rows(path, "SELECT state, count(*) FROM calls GROUP BY state") == [("closed", 1001)]
    await new.aclose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET points = 1000",
        "UPDATE entries SET at = 0 WHERE seq = 1",
        "DELETE FROM entries",
    ],
)
async def test_entries_are_append_only(store: SqliteStore, path: Path, statement: str) -> None:
    await store.reserve(reserve("c1"))
    before = rows(path, "SELECT * FROM entries")
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    assert rows(path, "SELECT * FROM entries") == before != []


async def test_the_tables_take_integers_only(store: SqliteStore) -> None:
    with pytest.raises(AssertionError, match="INTEGER"):
        await store.reserve(reserve("c1", replace(offer(0), points=1.5)))  # type: ignore[arg-type]
    assert await store.call("c1") is None


async def test_a_settle_has_an_entry_for_every_grant_it_touched(store: SqliteStore, path: Path) -> None:
    await store.reserve(reserve("c0", offer(0), opening=Opening("free", 4)))
    await store.grant(grant(20, "pack"))
    await store.grant(grant(3, "promo"))
    await store.reserve(reserve("c1", offer(10)))
    await store.close(answered("c1", 10))
    found = rows(path, "SELECT op_ref, points, balance_after, grant_id FROM entries WHERE call_id = 'c1' ORDER BY seq")
    assert found == [("settle:c1:0", -4, 23, 1), ("settle:c1:1", -3, 20, 3), ("settle:c1:2", -3, 17, 2)]
    assert rows(path, "SELECT remaining, closed_at IS NULL FROM grants ORDER BY id") == [(0, 0), (17, 1), (0, 0)]
    await store.withdraw("c1")
    found = rows(path, "SELECT op_ref, points, balance_after FROM entries WHERE kind = 'refund' ORDER BY seq")
    assert found == [("refund:c1:0", 4, 21), ("refund:c1:1", 3, 24), ("refund:c1:2", 3, 27)]
    assert rows(path, "SELECT remaining, closed_at IS NULL FROM grants ORDER BY id") == [(4, 1), (20, 1), (3, 1)]


async def test_a_charge_that_one_grant_covers_burns_the_one_of_the_first_priority(
    store: SqliteStore, path: Path
) -> None:
    await store.reserve(reserve("c0", offer(0), opening=Opening("free", 0)))
    for kind in ("pack", "promo", "promo"):
        await store.grant(grant(20, kind))
    await store.reserve(reserve("c1", offer(10)))
    await store.close(answered("c1", 10))
    assert rows(path, "SELECT remaining FROM grants ORDER BY id") == [(20,), (10,), (20,)]


async def test_time_never_runs_backwards_not_even_from_one_process_to_the_next(path: Path, opening: Opener) -> None:
    times = iter([0, 0, 5000, 3000])
    first = await opening(path, "a", now_ms=partial(next, times, 3000))
    await first.reserve(reserve("c1"))
    await first.reserve(reserve("c2"))
    await first.aclose()
    second = await opening(path, "b", now_ms=lambda: 1000)
    await second.reserve(reserve("c3"))
    await second.aclose()
    assert rows(path, "SELECT created_at FROM calls ORDER BY id") == [(5000,), (5000,), (5000,)]


async def test_the_usage_log_has_exactly_its_columns_and_the_calls_a_provider_answered(
    store: SqliteStore, path: Path
) -> None:
    ways = {"answered": 3, "failed": 0, "left_after_content": 3, "left_before_content": 0, "unknown": 0}
    for how, points in ways.items():
        await store.reserve(reserve(how, offer(3), workspace="w1", prospect="p1"))
        nobody = {} if points else {"provider": None, "upstream": None}
        await store.close(answered(how, points, how=how, **nobody))
    await store.reserve(reserve("dear", offer(1)))
    await store.close(answered("dear", 1, cost_nanousd=None, output_tokens=None))
    await store.reserve(reserve("open", offer(0)))
    await store.refuse(Refuse(facts=facts("refused"), error="x", message="x"))
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        logs = {row["id"]: dict(row) for row in connection.execute("SELECT * FROM ai_usage_logs")}
    assert set(logs) == {"answered", "left_after_content", "dear"}
    created_at = logs["answered"].pop("created_at")
    assert logs["answered"] == {
        "id": "answered",
        "user_id": "alice",
        "workspace_id": "w1",
        "prospect_id": "p1",
        "action": "ai_message",
        "provider": "openai",
        "model": "gpt-4o",
        "tokens_prompt": 12,
        "tokens_completion": 40,
        "tokens_total": 52,
        "cost_usd": 0.00043,
    }
    assert created_at.endswith("+00:00")
    assert (logs["dear"]["cost_usd"], logs["dear"]["tokens_total"]) == (None, None)


async def test_the_usage_logs_times_are_utc_and_compare_with_sqlites_own(path: Path, opening: Opener) -> None:
    store = await opening(path, "me", now_ms=lambda: 1_700_000_000_123)
    await store.reserve(reserve("c1"))
    await store.close(answered("c1"))
    await store.aclose()
    assert rows(path, "SELECT created_at FROM ai_usage_logs") == [("2023-11-14 22:13:20.123+00:00",)]
    assert rows(path, "SELECT unixepoch(created_at) FROM ai_usage_logs") == [(1_700_000_000,)]
    now = "datetime(1700000100, 'unixepoch')"
    query = "SELECT count(*) FROM ai_usage_logs WHERE created_at {} datetime({}, '{}')"
    assert rows(path, query.format(">=", now, "-2 minutes")) == [(1,)]
    assert rows(path, query.format(">=", now, "-1 minute")) == [(0,)]
    assert rows(path, query.format("<", now, "-1 minute")) == [(1,)]


async def test_text_that_is_not_unicode_is_the_callers_mistake_and_holds_nothing(store: SqliteStore) -> None:
    await store.reserve(reserve("c1"))
    with pytest.raises(BadRequest):
        await store.reserve(reserve("c2", workspace="\ud800"))
    balance = await store.balance(USER)
    assert balance is not None
    assert balance.held == 10


async def test_a_close_that_cannot_be_written_is_our_bug_and_no_points_stay_held(store: SqliteStore) -> None:
    call = fake_call()
    used = replace(outcome(), usage=Usage(input_tokens=2**70, output_tokens=1))  # beyond what the store can bind

    with pytest.raises(BadRequest):
        async with journal(store).reserving(call, OFFERS, opening=OPENING, charge=charge) as held:
            held.trace.outcome = used

    await store.refuse(
        Refuse(facts=facts("behind"), error="e", message="m")
    )  # the queue's order: all before it is done
    balance = await store.balance(call.payer.id)
    assert balance is not None
    assert (balance.balance, balance.held) == (25, 0)


async def test_while_the_file_takes_no_writes_the_store_is_unwell_fails_closed_and_then_recovers(path: Path) -> None:
    def impatient() -> sqlite3.Connection:
        connection = connect(path, "relaxed")
        connection.execute("PRAGMA busy_timeout = 10")
        return connection

    store = SqliteStore(Writer(impatient, Clock(), owed_retry_s=0.01), SqliteReader(path), owner="me")
    await store.reserve(reserve("c1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="locked"):
            await store.reserve(reserve("c2"))
        with pytest.raises(JournalUnavailable):
            await store.close(answered("c1"))
        withdrawn = store.withdraw("c1")
        assert await store.healthy() is False
        assert (await store.balance(USER)) is not None  # readers read on
        other.execute("ROLLBACK")
    await asyncio.wait_for(withdrawn, 10)
    row = await store.call("c1")
    assert row is not None
    assert row["how"] == "not_recorded"
    assert await store.healthy() is True
    await store.reserve(reserve("c3"))
    assert await store.verify() == []
    await store.aclose()


async def test_a_store_nobody_wrote_to_lately_proves_its_health_with_a_write(store: SqliteStore, path: Path) -> None:
    store._writer.committed_at = float("-inf")
    assert await store.healthy() is True
    assert rows(path, "SELECT at > 0 FROM probes") == [(1,)]


async def test_after_a_clean_stop_the_one_file_is_the_whole_ledger(path: Path, opening: Opener, tmp_path: Path) -> None:
    store = await opening(path, "me")
    await store.reserve(reserve("c1"))
    assert await store.call("c1") is not None  # somebody has read, too
    await store.aclose()

    copy = Path(shutil.copy(path, tmp_path / "copy.db"))
    assert rows(copy, "SELECT count(*) FROM calls") == [(1,)]


async def test_a_closed_store_is_unwell_and_refuses(path: Path, opening: Opener) -> None:
    store = await opening(path, "me")
    await store.aclose()
    store._writer.committed_at = float("-inf")
    assert await store.healthy() is False
    with pytest.raises(JournalUnavailable):
        await store.reserve(reserve("c1"))
