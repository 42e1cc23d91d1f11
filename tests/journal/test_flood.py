"""A flood of refusals: the first of each source and minute have rows, the others are counted, every one once."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.call import Opening, Principal, Role
from proxy.errors import EnergyExhausted, Forbidden, JournalUnavailable, Unauthenticated
from proxy.journal.flood import MINUTE_MS, RefusalMeter, TurnedAway
from proxy.journal.hold import Journal
from proxy.journal.listing import CallFilter
from proxy.journal.memory import MemoryStore
from proxy.journal.port import Noted, RefusalCount
from proxy.journal.retention import Retention, Rules
from proxy.journal.sqlite import open_sqlite
from proxy.testing import fake_call
from tests.journal.contract import fresh_database
from tests.journal.test_hold import OFFERS, OPENING, charge

START = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
FLOOD = 10_000
NOTHING = Opening("free", 0)


class Wound:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        return self.ms


def metered(store: MemoryStore, clock: Wound, per_minute: int = 2) -> RefusalMeter:
    return RefusalMeter(store, Retention(Rules(refusals_per_minute=per_minute)), now_ms=clock)


async def test_places_are_of_a_source_and_a_minute_and_can_be_given_back() -> None:
    clock = Wound()
    meter = metered(MemoryStore(), clock)
    first, second, third = (meter.place("k1") for _ in range(3))
    assert [place.noted for place in (first, second, third)] == [Noted.ROW, Noted.ROW, Noted.COUNT]
    assert meter.place("k2").noted is Noted.ROW
    third.free()
    assert meter.place("k1").noted is Noted.COUNT
    second.free()
    assert meter.place("k1").noted is Noted.ROW
    clock.ms += MINUTE_MS
    assert [meter.place("k1").noted for _ in range(3)] == [Noted.ROW, Noted.ROW, Noted.COUNT]
    first.free()  # of a minute that is over: it makes no room in this one
    assert meter.place("k1").noted is Noted.COUNT


async def test_without_rows_every_refusal_is_counted() -> None:
    assert metered(MemoryStore(), Wound(), per_minute=0).place("k1").noted is Noted.COUNT


async def test_counts_are_written_in_batches_and_only_once() -> None:
    store, clock = MemoryStore(), Wound()
    meter = metered(store, clock)
    for n in range(1200):
        meter.count(f"k{n}", "x")
    meter.count("", "x")
    assert len(meter.flush()) == 3
    assert meter.flush() == []
    rows = await store.refusals(limit=1000)
    assert len(rows) == 1000
    assert {row.count for row in rows} == {1}
    assert (await store.totals()).calls == 0


class Failing(MemoryStore):
    """A ledger that does not take counts until told."""

    broken = True

    def count_refusals(self, counts: Sequence[RefusalCount]) -> Future[None]:
        if not self.broken:
            return super().count_refusals(counts)
        future: Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(JournalUnavailable("disk full"))
        return future


async def test_counts_that_could_not_be_written_are_written_later(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    meter = metered(store, Wound())
    meter.count("k1", "x")
    await meter.last_flush(1)
    assert "1 refusals are not counted" in caplog.text
    meter.count("k1", "x")
    store.broken = False
    await meter.last_flush(1)
    assert list(await store.refusals()) == [RefusalCount(minute=START, source="k1", reason="x", count=2)]


async def test_who_has_no_key_is_counted_by_reason_and_our_own_failures_are_not() -> None:
    store = MemoryStore()
    meter = metered(store, Wound())
    watching = TurnedAway(meter)
    for error in (Unauthenticated("no"), Unauthenticated("no"), JournalUnavailable("disk full")):
        watching.turned_away(error)
    watching.refused(fake_call(), Forbidden("no"))
    watching.ended(fake_call(), None)
    await meter.last_flush(1)
    assert list(await store.refusals()) == [RefusalCount(minute=START, source="", reason="invalid_api_key", count=2)]


async def refuse(journal: Journal, n: int) -> None:
    """One of two ways to be refused, by turns."""
    call = replace(fake_call(), id=f"00000000-{n:04x}-7000-8000-000000000000", trace=fake_call().trace)
    if n % 2:
        await journal.refused(call, Forbidden("no"))
        return
    with suppress(EnergyExhausted):
        async with journal.reserving(call, OFFERS, opening=NOTHING, charge=charge):
            pytest.fail("nothing may run")


async def test_a_flood_of_refused_calls_fills_neither_the_store_nor_its_queue_and_is_counted(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await open_sqlite(path, durability="relaxed", owner="me")
    journal = Journal(store, close_wait_s=5.0)
    journal.refusals = RefusalMeter(store, journal.retention, now_ms=Wound())
    before = path.stat().st_size
    for first in range(0, FLOOD, 1000):
        await asyncio.gather(*(refuse(journal, n) for n in range(first, first + 1000)))
    await journal.refusals.last_flush(5)
    rows = await store.calls(CallFilter(state="refused"), limit=1000)
    counts = await store.refusals()
    assert 0 < len(rows) <= 60
    assert len(rows) + sum(row.count for row in counts) == FLOOD
    by_reason = Counter(str(row["error"]) for row in rows) + Counter({row.reason: row.count for row in counts})
    assert by_reason == {"insufficient_energy": FLOOD // 2, "permission_denied": FLOOD // 2}
    assert path.stat().st_size - before < 200_000
    await store.aclose()


async def test_one_who_floods_takes_no_rows_from_another(tmp_path: Path) -> None:
    store = MemoryStore()
    journal = Journal(store, close_wait_s=5.0, retention=Retention(Rules(refusals_per_minute=2)))
    journal.refusals = metered(store, Wound())
    for n in range(10):
        await refuse(journal, n)
    other = replace(
        fake_call(), id="other", principal=Principal(key_id="k9", role=Role.USER, namespace="main", user="zoe")
    )
    await journal.refused(other, Forbidden("no"))
    assert await store.call("other") is not None


async def test_calls_that_are_answered_take_no_rows_from_refusals() -> None:
    store, clock = MemoryStore(), Wound()
    journal = Journal(store, close_wait_s=5.0)
    journal.refusals = metered(store, clock, per_minute=1)
    for n in range(5):
        call = replace(fake_call(), id=f"c{n}", trace=fake_call().trace)
        async with journal.reserving(call, OFFERS, opening=OPENING, charge=lambda ended: 0):
            pass
    assert journal.refusals.place(fake_call().principal.key_id).noted is Noted.ROW


async def test_a_refusal_whose_caller_left_is_counted_once() -> None:
    store = MemoryStore()
    journal = Journal(store, close_wait_s=5.0, retention=Retention(Rules(refusals_per_minute=0)))

    async def call() -> None:
        async with journal.reserving(fake_call(), OFFERS, opening=NOTHING, charge=charge):
            pytest.fail("nothing may run")

    task = asyncio.get_running_loop().create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    await journal.refusals.last_flush(1)
    assert [row.count for row in await store.refusals()] == [1]
