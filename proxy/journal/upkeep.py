"""Upkeep: what a running proxy does to its records by and by: prunes old ones, finishes erasures, writes counts of refusals.

Everything goes through the store's queue in small batches, one at a time, so that no call waits long for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.clock import unix_ms
from proxy.journal.flood import RefusalMeter
from proxy.journal.port import Pruned, Store
from proxy.journal.retention import KEEP_MS_MIN, Retention
from proxy.tasks import beside

FLUSH_S = 5.0
PRUNE_S = 60.0
LAST_FLUSH_S = 2.0
BATCH_ROWS = 200
log = logging.getLogger(__name__)


@asynccontextmanager
async def kept_up(
    store: Store, refusals: RefusalMeter, retention: Retention, *, flush_s: float = FLUSH_S, prune_s: float = PRUNE_S
) -> AsyncIterator[None]:
    """Look after the records while the body runs; at its end what was counted is written."""
    try:
        async with beside() as tasks:
            tasks.start(_flushing(refusals, flush_s))
            tasks.start(_tidying(store, retention, prune_s))
            yield
    finally:
        await refusals.last_flush(LAST_FLUSH_S)


async def _flushing(refusals: RefusalMeter, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        if writing := refusals.flush():
            await asyncio.wait(writing)


async def _tidying(store: Store, retention: Retention, every_s: float) -> None:
    """At the start too: an erasure may have been cut short, and its pages be left in the log."""
    erased = True
    while True:
        try:
            erased = await finish_erasing(store) > 0 or erased
            if erased:
                erased = not await store.scrub()
            if retention.rules.keep_ms is not None:
                await prune(store, unix_ms() - retention.rules.keep_ms)
        except JournalUnavailable as error:
            log.warning("old records are not looked after now: %s", error.message)
        await asyncio.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Total:
    """Rows pruned in all."""

    calls: int
    counts: int


async def prune(
    store: Store, before_ms: int, *, rows_max: int = BATCH_ROWS, now_ms: Callable[[], int] = unix_ms
) -> Total:
    """Delete calls that ended, and counts that were made, before ``before_ms``. Raises BadRequest for a time too near."""
    if before_ms > now_ms() - KEEP_MS_MIN:
        raise BadRequest(
            "records of the last hour cannot be pruned: their calls may still be taken back", param="before_ms"
        )
    calls = counts = 0
    done = Pruned(calls=rows_max, counts=0)
    while rows_max in (done.calls, done.counts):
        done = await store.prune(before_ms, rows_max=rows_max)
        calls, counts = calls + done.calls, counts + done.counts
    return Total(calls, counts)


async def finish_erasing(store: Store, *, rows_max: int = BATCH_ROWS) -> int:
    """Take the names of erased users out of all their calls; how many calls that were."""
    calls, more = 0, True
    while more:
        step = await store.erase_calls(rows_max)
        calls, more = calls + step.calls, step.more
    return calls
