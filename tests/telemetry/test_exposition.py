"""The text of /metrics: made off the loop, and not more often than needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from proxy.telemetry.exposition import Text


class WhoWrites(Collector):
    """Notes on which thread it is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.threads: list[threading.Thread] = []
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.threads.append(threading.current_thread())
        return []


async def _fresh() -> None: ...


async def test_it_is_written_on_another_thread() -> None:
    registry = CollectorRegistry()
    who = WhoWrites(registry)
    await Text(registry, _fresh).text()
    assert who.threads
    assert threading.current_thread() not in who.threads


async def test_many_scrapes_at_once_are_one() -> None:
    registry, reads = CollectorRegistry(), 0
    who = WhoWrites(registry)

    async def refresh() -> None:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)

    text = Text(registry, refresh, kept_s=3600)
    texts = await asyncio.gather(*(text.text() for _ in range(50)))
    assert (reads, len(who.threads), len(set(texts))) == (1, 1, 1)


async def test_after_its_time_it_is_made_anew() -> None:
    registry = CollectorRegistry()
    counter = Counter("orch_x", "", registry=registry)
    text = Text(registry, _fresh, kept_s=0)
    before = await text.text()
    counter.inc()
    assert b"orch_x_total 1.0" in await text.text()
    assert b"orch_x_total 0.0" in before


async def test_a_refresh_that_fails_is_tried_again() -> None:
    failing = True

    async def refresh() -> None:
        if failing:
            raise OSError

    text = Text(CollectorRegistry(), refresh)
    try:
        await text.text()
    except OSError:
        failing = False
    assert await text.text() == b"\n" or not await text.text()
