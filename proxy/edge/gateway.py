"""What the edge serves with: the configuration in force, the ledger, the keys, and the limits on what runs at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.call import Call, Principal
from proxy.edge.live import Live
from proxy.edge.receive import BodyBudget
from proxy.errors import JournalUnavailable, OrchError, Overloaded
from proxy.journal.port import Balance
from proxy.telemetry.observers import Nothing, Observers
from proxy.telemetry.port import Exposition, Observer

log = logging.getLogger("proxy.edge")


class Refusals(Protocol):
    """Where a call that was refused before any reserve is recorded."""

    async def refused(self, call: Call, error: OrchError) -> None: ...


class Keys(Protocol):
    async def principal(self, credential: str, /) -> Principal:
        """Who holds this key. Raises Unauthenticated."""
        ...


class Records(Protocol):
    """What the edge reads of the store."""

    async def balance(self, account: str) -> Balance | None: ...

    async def call(self, call_id: str) -> Mapping[str, Any] | None: ...

    async def healthy(self) -> bool: ...


class Serving:
    """How many calls run now; ``idle`` is set while none runs and none is being received."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self.running = 0
        self._present = 0

    @contextmanager
    def receiving(self, calls_max: int) -> Iterator[None]:
        """A request on its way in: refused while every place is taken, it takes none itself, or slow senders would fill them."""
        self._check(calls_max)
        self._present += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._present -= 1
            if not self._present:
                self.idle.set()

    @contextmanager
    def one(self, calls_max: int) -> Iterator[None]:
        """A call's place, from when its request is here until its answer is handed over."""
        self._check(calls_max)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def _check(self, calls_max: int) -> None:
        if self.running >= calls_max:
            raise Overloaded(f"{calls_max} calls are running already (calls_max). Try again shortly.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything an endpoint needs; made by ``app.py``."""

    live: Live
    keys: Keys
    journal: Refusals
    records: Records
    bodies: BodyBudget
    serving: Serving
    ready: Callable[[], Awaitable[bool]]
    observer: Observer = field(default_factory=Observers)
    metrics: Exposition = field(default_factory=Nothing)
    metrics_public: bool | None = None

    async def note_refusal(self, call: Call, error: OrchError) -> None:
        """Record a refused call. A store that does not answer must not turn the caller's clear error into another."""
        if call.trace.booked is None:
            self.observer.refused(call, error)
        try:
            await self.journal.refused(call, error)
        except JournalUnavailable as unavailable:
            log.warning("refused call %s (%s) is not recorded: %s", call.id, error.reason, unavailable.message)
