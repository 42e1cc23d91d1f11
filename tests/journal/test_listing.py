"""The promises of ``listing.Listings``, asked of every adapter; and that SQLite walks an index for each list."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from proxy.call import Opening
from proxy.errors import BadRequest
from proxy.journal import listing_sql as sql
from proxy.journal.listing import CallFilter, Listings, Totals, UserRow, grouping
from proxy.journal.memory import MemoryStore
from proxy.journal.port import NewUser, Refuse, Store
from proxy.journal.reader import SqliteReader
from proxy.journal.sqlite import open_sqlite
from tests.journal.contract import (
    OPENING,
    USER,
    answered,
    facts,
    fresh_database,
    grant,
    offer,
    reserve,
    ticking,
)

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
DAY_MS = 86_400_000


class Ledger(Store, Listings, Protocol):
    """A store that lists."""


class Wound:
    """A clock that is set by the test, and moves a millisecond at every look."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def clock() -> Wound:
    return Wound()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Wound) -> AsyncIterator[Ledger]:
    made: Ledger
    if request.param == "memory":
        made = MemoryStore(now_ms=clock)
    else:
        made = await open_sqlite(fresh_database(tmp_path), durability="relaxed", owner="memory", now_ms=clock)
    yield made
    assert await made.verify() == []
    await made.aclose()


def at(ms: int, n: int = 0) -> str:
    """The id of a call that arrived at ``ms``."""
    return f"{sql.first_id(ms)}-7{n:03x}-8000-000000000000"


async def run(store: Ledger, call_id: str, points: int = 3, **asked: Any) -> None:
    await store.reserve(reserve(call_id, offer(points), **asked))
    await store.close(answered(call_id, points))


async def ids(store: Ledger, wanted: CallFilter | None = None, **page: Any) -> list[str]:
    return [row["id"] for row in await store.calls(wanted or CallFilter(), **page)]


async def test_users_come_by_account_id_page_after_page(store: Ledger) -> None:
    for name in ("shop/zoe", "main/bob", "main/alice", "main-2/eve", "main/éva"):
        await store.create_user(NewUser(account=name, opening=OPENING))
    first = await store.users(limit=2)
    assert [row.account for row in first] == ["main-2/eve", "main/alice"]
    rest = await store.users(after=first[-1].account)
    assert [row.account for row in rest] == ["main/bob", "main/éva", "shop/zoe"]
    assert [row.user for row in await store.users("main")] == ["alice", "bob", "éva"]
    assert [row.user for row in await store.users("main", after="main/alice", limit=1)] == ["bob"]
    assert await store.users("mai") == []


async def test_a_user_shows_what_can_be_spent(store: Ledger) -> None:
    await store.create_user(NewUser(account=USER, opening=Opening("pro", 50)))
    await store.reserve(reserve("c1"))
    (row,) = await store.users()
    assert row == UserRow(namespace="main", user="alice", plan="pro", balance=50, held=10, created_at=row.created_at)
    assert row.created_at > START
    assert row.available == 40


async def test_a_user_whose_name_has_a_slash_is_of_its_namespace(store: Ledger) -> None:
    await store.create_user(NewUser(account="main/team/alice", opening=OPENING))
    (row,) = await store.users("main")
    assert (row.namespace, row.user, row.account) == ("main", "team/alice", "main/team/alice")


async def test_grants_are_listed_with_what_is_left_of_them(store: Ledger) -> None:
    await store.create_user(NewUser(account=USER, opening=Opening("free", 3)))
    await store.grant(grant(20, "pack", source_ref="order-1"))
    await store.create_user(NewUser(account="main/bob", opening=OPENING))
    await run(store, "c1", 5)
    plan, pack = await store.grants(USER)
    assert (plan.kind, plan.amount, plan.remaining, plan.priority) == ("plan", 3, 0, 10)
    assert plan.closed_at is not None
    assert (pack.kind, pack.amount, pack.remaining, pack.source_ref) == ("pack", 20, 18, "order-1")
    assert (pack.account, pack.closed_at, pack.reason) == (USER, None, None)
    assert plan.id < pack.id
    await store.withdraw("c1")
    assert [(row.remaining, row.closed_at) for row in await store.grants(USER)] == [(3, None), (20, None)]
    assert await store.grants("main/nobody") == []


async def test_the_history_of_an_account_is_its_entries_newest_first(store: Ledger) -> None:
    await store.create_user(NewUser(account=USER, opening=Opening("free", 3)))
    await store.grant(grant(20))
    await store.create_user(NewUser(account="main/bob", opening=OPENING))
    await run(store, "c:1", 5)
    await store.withdraw("c:1")
    found = await store.entries(USER)
    assert [(row.op_ref, row.points, row.balance_after) for row in found] == [
        ("refund:c:1:1", 2, 23),
        ("refund:c:1:0", 3, 21),
        ("settle:c:1:1", -2, 18),
        ("settle:c:1:0", -3, 20),
        ("grant:2", 20, 23),
        ("grant:1", 3, 3),
    ]
    assert [row.call_id for row in found] == ["c:1"] * 4 + [None] * 2
    assert [row.kind for row in found[::2]] == ["refund", "settle", "grant"]
    assert {row.account for row in found} == {USER}
    assert [row.grant_id for row in found] == [2, 1, 2, 1, 2, 1]
    page = await store.entries(USER, limit=2)
    assert [*page, *await store.entries(USER, before=page[-1].seq)] == found


async def test_calls_come_newest_first_page_after_page(store: Ledger) -> None:
    made = [at(START + n) for n in range(5)]
    for call_id in made:
        await run(store, call_id)
    assert await ids(store) == made[::-1]
    assert await ids(store, limit=2) == [made[4], made[3]]
    assert await ids(store, before=made[3]) == made[2::-1]
    assert await ids(store, before=made[0]) == []


async def test_a_listed_call_is_the_row_of_the_call(store: Ledger) -> None:
    await run(store, at(START), workspace="w")
    assert list(await store.calls(CallFilter())) == [await store.call(at(START))]


async def test_following_calls_misses_none_that_was_written_late(store: Ledger) -> None:
    early, seen, late = at(START), at(START + 1), at(START + 2)
    await run(store, seen)
    await run(store, early)  # it arrived before, and was written after
    await run(store, late)
    assert await ids(store, after=seen) == [early, late]
    assert await ids(store, after=seen, limit=1) == [early]
    assert await ids(store, after=early) == [late]
    assert await ids(store, after=late) == []
    assert await ids(store, after=at(START - 1)) == [seen, early, late]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (CallFilter(account="main/bob"), [5]),
        (CallFilter(namespace="main"), [5, 3, 2, 1]),
        (CallFilter(namespace="shop"), [4]),
        (CallFilter(namespace="main", account=USER), [3, 2, 1]),
        (CallFilter(key_id="k2"), [2]),
        (CallFilter(model="gpt-4o-mini"), [3]),
        (CallFilter(action="scan"), [4]),
        (CallFilter(state="open"), [5]),
        (CallFilter(state="refused"), [2]),
        (CallFilter(state="closed", namespace="main"), [3, 1]),
        (CallFilter(how="failed"), [3]),
        (CallFilter(error="upstream_unavailable"), [3]),
        (CallFilter(error="no_such"), []),
    ],
)
async def test_calls_are_found_by_what_they_are(store: Ledger, wanted: CallFilter, found: list[int]) -> None:
    await run(store, at(START, 1))
    await store.refuse(Refuse(facts=facts(at(START, 2), key_id="k2"), error="model_not_found", message="no"))
    await store.reserve(reserve(at(START, 3), offer(1, "gpt-4o-mini")))
    await store.close(answered(at(START, 3), 0, how="failed", model=None, error="upstream_unavailable"))
    await run(store, at(START, 4), account="shop/zoe", action="scan")
    await store.reserve(reserve(at(START, 5), offer(1), account="main/bob"))
    assert await ids(store, wanted) == [at(START, n) for n in found]
    assert await ids(store, wanted, after=at(START)) == [at(START, n) for n in found][::-1]


async def test_calls_are_found_by_when_they_were_made(store: Ledger, clock: Wound) -> None:
    days = [START + n * DAY_MS for n in range(4)]
    for ms in days:
        clock.ms = ms
        await run(store, at(ms))
    assert await ids(store, CallFilter(since_ms=days[2])) == [at(days[3]), at(days[2])]
    assert await ids(store, CallFilter(until_ms=days[1])) == [at(days[0])]
    assert await ids(store, CallFilter(since_ms=days[1], until_ms=days[2], namespace="main")) == [at(days[1])]
    (row,) = await store.calls(CallFilter(since_ms=days[3]))
    made = row["created_at"]
    assert await ids(store, CallFilter(since_ms=made)) == [at(days[3])]
    assert await ids(store, CallFilter(since_ms=days[3], until_ms=made)) == []
    assert await ids(store, CallFilter(since_ms=-5, until_ms=1 << 62)) == [at(ms) for ms in reversed(days)]


async def test_a_call_that_waited_for_its_reserve_is_found_by_the_time_of_its_row(store: Ledger, clock: Wound) -> None:
    clock.ms = START + 60_000
    await run(store, at(START))
    assert await ids(store, CallFilter(since_ms=START + 60_000)) == [at(START)]
    assert await ids(store, CallFilter(until_ms=START + 60_000)) == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_of_no_or_too_many_rows_is_refused(store: Ledger, limit: int) -> None:
    for page in (store.users(limit=limit), store.entries(USER, limit=limit), store.calls(CallFilter(), limit=limit)):
        with pytest.raises(BadRequest):
            await page


async def used(store: Ledger, *by: str, **asked: Any) -> list[tuple[dict[str, str], int]]:
    return [(dict(row.key), row.calls) for row in await store.usage(by, **asked)]


async def test_usage_adds_up_what_calls_came_to(store: Ledger) -> None:
    await run(store, at(START, 1), 10)
    await store.reserve(reserve(at(START, 2), offer(4)))
    await store.close(answered(at(START, 2), 4, cost_nanousd=None))
    await store.reserve(reserve(at(START, 3), offer(1)))
    await store.close(answered(at(START, 3), 0, how="failed", cost_nanousd=None, input_tokens=None, output_tokens=None))
    await store.refuse(Refuse(facts=facts(at(START, 4)), error="x", message="x"))
    await store.reserve(reserve(at(START, 5), offer(1)))
    await store.withdraw(at(START, 1))
    (row,) = await store.usage(())
    assert row.key == {}
    assert (row.calls, row.answered, row.failed, row.refused) == (5, 1, 2, 1)
    assert (row.points_charged, row.points_refunded) == (14, 10)
    assert (row.input_tokens, row.output_tokens) == (24, 80)
    assert (row.cost_nanousd, row.cost_unknown) == (430_000, 1)


async def test_usage_is_counted_by_what_is_asked(store: Ledger, clock: Wound) -> None:
    await run(store, at(START, 1), workspace="w1")
    await run(store, at(START, 2), account="shop/alice", action="scan", key_id="k2")
    await store.refuse(Refuse(facts=facts(at(START, 3), action=None), error="x", message="x"))
    clock.ms = START + DAY_MS
    await run(store, at(START + DAY_MS), account="main/bob")
    main, shop = {"namespace": "main"}, {"namespace": "shop"}
    by_user = [(main | {"user": "alice"}, 2), (main | {"user": "bob"}, 1), (shop | {"user": "alice"}, 1)]
    assert await used(store, "user") == await used(store, "user", "namespace", "user") == by_user
    assert await used(store, "workspace", namespace="main") == [
        (main | {"workspace": ""}, 2),
        (main | {"workspace": "w1"}, 1),
    ]
    assert await used(store, "action") == [({"action": ""}, 1), ({"action": "ai_message"}, 2), ({"action": "scan"}, 1)]
    assert await used(store, "key") == [({"key": "k1"}, 3), ({"key": "k2"}, 1)]
    assert await used(store, "model", "provider") == [
        ({"model": "", "provider": ""}, 1),
        ({"model": "gpt-4o", "provider": "openai"}, 3),
    ]
    assert await used(store, "day") == [({"day": "2023-11-14"}, 3), ({"day": "2023-11-15"}, 1)]
    assert await used(store, "day", until_ms=START + DAY_MS, namespace="shop") == [({"day": "2023-11-14"}, 1)]
    assert await used(store, since_ms=START + DAY_MS) == [({}, 1)]


async def test_usage_of_nothing_has_no_rows(store: Ledger) -> None:
    assert await store.usage(()) == []
    assert await store.usage(("user",)) == []


async def test_usage_by_what_there_is_not_is_refused(store: Ledger) -> None:
    with pytest.raises(BadRequest):
        await store.usage(("model; DROP TABLE calls",))


async def test_totals_count_what_there_is(store: Ledger) -> None:
    assert await store.totals() == Totals(
        open_calls=0, oldest_open_at=None, points_held=0, accounts=0, entries=0, calls=0
    )
    await run(store, "c1")
    await store.reserve(reserve("c2", offer(4)))
    await store.reserve(reserve("c3", offer(4)))
    oldest = await store.call("c2")
    assert oldest is not None
    assert await store.totals() == Totals(
        open_calls=2, oldest_open_at=oldest["created_at"], points_held=8, accounts=1, entries=2, calls=3
    )


def test_a_workspace_is_counted_beside_its_namespace() -> None:
    assert grouping(("day", "workspace", "day")) == ("namespace", "day", "workspace")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (sql.users_page(None, "main/a", 50), "sqlite_autoindex_accounts_1"),
        (sql.users_page("main", None, 50), "sqlite_autoindex_accounts_1"),
        ((sql.GRANTS, {"account": USER}), "ix_grants_account"),
        ((sql.ENTRIES, {"account": USER, "before": 9, "limit": 50}), "ix_entries_account"),
        (sql.calls_page(CallFilter(), None, None, 50), "sqlite_autoindex_calls_1"),
        (sql.calls_page(CallFilter(model="m", how="failed"), "x", None, 50), "sqlite_autoindex_calls_1"),
        (sql.calls_page(CallFilter(since_ms=1, until_ms=2), None, None, 50), "sqlite_autoindex_calls_1"),
        (sql.calls_page(CallFilter(account=USER), "x", None, 50), "ix_calls_account"),
        (sql.calls_page(CallFilter(account=USER, since_ms=1), None, None, 50), "ix_calls_account"),
        (sql.calls_page(CallFilter(namespace="main"), "x", None, 50), "ix_calls_namespace"),
        (sql.calls_page(CallFilter(namespace="main", since_ms=1), None, None, 50), "ix_calls_namespace"),
        (sql.calls_page(CallFilter(state="open"), None, None, 50), "ix_calls_open"),
        (sql.calls_page(CallFilter(), None, "x", 50), "INTEGER PRIMARY KEY (rowid>?)"),
        ((sql.REFUSALS, {"since": 1, "until": 2, "limit": 50}), "sqlite_autoindex_refusal_counts_1"),
        ((sql.TOTALS, {}), "ix_calls_open"),
    ],
)
def test_a_list_is_a_walk_along_an_index(tmp_path: Path, query: sql.Query, index: str) -> None:
    with closing(sqlite3.connect(fresh_database(tmp_path))) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    assert any(index in step for step in plan), plan
    assert not [step for step in plan if "TEMP B-TREE" in step or step in ("SCAN calls", "SCAN accounts")], plan


async def test_usage_of_a_time_reads_only_that_time(tmp_path: Path) -> None:
    query, values = sql.usage_report(("day",), CallFilter(since_ms=1, until_ms=2))
    with closing(sqlite3.connect(fresh_database(tmp_path))) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    assert plan[0] == "SEARCH calls USING INDEX sqlite_autoindex_calls_1 (id>? AND id<?)"


async def test_a_report_that_takes_too_long_is_given_up_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await open_sqlite(path, durability="relaxed", owner="me", now_ms=ticking())
    await run(store, "c1")
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        columns = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(calls)") if row[1] != "id")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        connection.execute(f"{numbers} INSERT INTO calls (id, {columns}) SELECT 'x' || i, {columns} FROM calls, n")
        connection.commit()
    async with SqliteReader(path, listing_s=0.0) as reader:
        with pytest.raises(BadRequest, match="shorter time"):
            await reader.usage(("user",))
        assert await reader.balance(USER) is not None
        (row,) = await reader.users()  # the connection is none the worse
        assert row.account == USER
