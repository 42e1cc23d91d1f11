"""Upkeep of a running ledger: what it does by itself, in small steps, and what it leaves to do at its end."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.flood import RefusalMeter
from proxy.journal.listing import CallFilter
from proxy.journal.listing_sql import first_id
from proxy.journal.memory import MemoryStore
from proxy.journal.port import Erasing, Pruned
from proxy.journal.retention import KEEP_MS_MIN, Retention, Rules
from proxy.journal.sqlite import SqliteStore, open_sqlite
from proxy.journal.upkeep import Total, finish_erasing, kept_up, prune
from tests.journal.contract import USER, answered, fresh_database, offer, reserve

NOW = time.time_ns() // 1_000_000
DAY_MS = 86_400_000


async def old_ledger(path: Path, calls: int, days: int) -> SqliteStore:
    """A ledger whose calls were made ``days`` ago."""
    then = NOW - days * DAY_MS
    store = await open_sqlite(path, durability="relaxed", owner="me", now_ms=lambda: then)
    for n in range(calls):
        call_id = f"{first_id(then)}-{n}"
        await store.reserve(reserve(call_id, offer(1)))
        await store.close(answered(call_id, 1))
    return store


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Watched(MemoryStore):
    """A ledger that notes what its upkeep asks; it fails while ``broken``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.broken = False
        self.dirty = 0

    def erase_calls(self, calls_max: int) -> Future[Erasing]:
        self.asked.append("erase")
        if self.broken:
            future: Future[Erasing] = asyncio.get_running_loop().create_future()
            future.set_exception(JournalUnavailable("disk full"))
            return future
        return super().erase_calls(calls_max)

    def scrub(self) -> Future[bool]:
        self.asked.append("scrub")
        self.dirty -= 1
        return self._do(lambda: self.dirty < 0)

    def prune(self, before_ms: int, *, rows_max: int) -> Future[Pruned]:
        self.asked.append("prune")
        return super().prune(before_ms, rows_max=rows_max)


def looked_after(store: Watched, rules: Rules) -> tuple[RefusalMeter, Retention]:
    retention = Retention(rules)
    return RefusalMeter(store, retention), retention


async def test_pruning_goes_in_batches_until_nothing_old_is_left(tmp_path: Path) -> None:
    store = await old_ledger(fresh_database(tmp_path), calls=7, days=30)
    assert await prune(store, NOW - DAY_MS, rows_max=3) == Total(calls=7, counts=0)
    assert await prune(store, NOW - DAY_MS, rows_max=3) == Total(calls=0, counts=0)
    assert await store.calls(CallFilter()) == []
    assert await store.verify() == []
    await store.aclose()


async def test_records_of_the_last_hour_are_not_pruned() -> None:
    store = MemoryStore()
    with pytest.raises(BadRequest, match="last hour"):
        await prune(store, NOW, now_ms=lambda: NOW)
    assert await prune(store, NOW - KEEP_MS_MIN, now_ms=lambda: NOW) == Total(calls=0, counts=0)


async def test_calls_are_served_while_it_prunes(tmp_path: Path) -> None:
    store = await old_ledger(fresh_database(tmp_path), calls=300, days=30)
    pruning = asyncio.get_running_loop().create_task(prune(store, NOW - DAY_MS, rows_max=10))
    served = 0
    while not pruning.done():
        await store.reserve(reserve(f"{first_id(NOW)}-{served}", offer(0)))
        served += 1
    assert await pruning == Total(calls=300, counts=0)
    assert served > 5
    assert await store.verify() == []
    await store.aclose()


async def test_a_running_proxy_prunes_by_its_rules(tmp_path: Path) -> None:
    store = await old_ledger(fresh_database(tmp_path), calls=3, days=30)
    retention = Retention(Rules(keep_ms=40 * DAY_MS))
    async with kept_up(store, RefusalMeter(store, retention), retention, prune_s=0.01):
        await asyncio.sleep(0.05)
        assert len(await store.calls(CallFilter())) == 3
        retention.rules = Rules(keep_ms=DAY_MS)  # a reload
        async with asyncio.timeout(10):
            while await store.calls(CallFilter()):
                await asyncio.sleep(0.01)
    await store.aclose()


async def test_without_a_time_to_keep_nothing_is_pruned() -> None:
    store = Watched()
    async with kept_up(store, *looked_after(store, Rules()), prune_s=0.001):
        await until(lambda: store.asked.count("erase") > 3)
    assert "prune" not in store.asked


async def test_an_erasure_that_was_cut_short_is_finished_at_the_start(tmp_path: Path) -> None:
    store = await old_ledger(fresh_database(tmp_path), calls=5, days=1)
    await store.erase_user(USER, "erased-1")
    retention = Retention()
    async with kept_up(store, RefusalMeter(store, retention), retention):
        async with asyncio.timeout(10):
            while await store.calls(CallFilter(account=USER)):
                await asyncio.sleep(0.005)
    assert await finish_erasing(store) == 0
    await store.aclose()


async def test_the_log_is_emptied_once_nobody_reads_it_and_then_left_alone() -> None:
    store = Watched()
    store.dirty = 2
    async with kept_up(store, *looked_after(store, Rules()), prune_s=0.001):
        await until(lambda: store.asked.count("erase") > 10)
    assert store.asked.count("scrub") == 3


async def test_a_store_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Watched()
    store.broken = True
    async with kept_up(store, *looked_after(store, Rules(keep_ms=DAY_MS)), prune_s=0.001):
        await until(lambda: store.asked.count("erase") > 3)
        assert "prune" not in store.asked
        store.broken = False
        await until(lambda: "prune" in store.asked)
    assert "not looked after now: disk full" in caplog.text


async def test_refusals_are_written_by_and_by_and_at_the_end() -> None:
    store = Watched()
    refusals, retention = looked_after(store, Rules())
    async with kept_up(store, refusals, retention, flush_s=0.001):
        refusals.count("k1", "x")
        async with asyncio.timeout(10):
            while not await store.refusals():
                await asyncio.sleep(0.001)
    async with kept_up(store, refusals, retention, flush_s=1000):
        refusals.count("k1", "x")
    assert sum(row.count for row in await store.refusals()) == 2
