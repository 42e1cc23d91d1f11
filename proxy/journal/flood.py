"""Flood care: refusals have rows of their own up to a cap for each source and minute, and are counted exactly beyond it.

The source is the key. Who has no valid key is only counted, whoever they are: nobody can fill the store without one.
"""

from __future__ import annotations

import logging
from asyncio import Future, wait
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from proxy.call import Call
from proxy.errors import CallerError, OrchError
from proxy.journal.clock import unix_ms
from proxy.journal.port import Noted, RefusalCount
from proxy.journal.retention import Retention

MINUTE_MS = 60_000
COUNTS_MAX = 500
"""Counts written in one operation."""

NOBODY = ""

log = logging.getLogger(__name__)


class Counting(Protocol):
    """The part of a store that counts."""

    def count_refusals(self, counts: Sequence[RefusalCount]) -> Future[None]: ...


class Place:
    """One refusal that may have a row, if it comes to be one; ``free`` gives it to another."""

    __slots__ = ("_rows", "noted", "source")

    def __init__(self, rows: Counter[str], source: str, per_minute: int) -> None:
        self.noted = Noted.ROW if rows[source] < per_minute else Noted.COUNT
        self.source = source
        self._rows = rows
        if self.noted is Noted.ROW:
            rows[source] += 1

    def free(self) -> None:
        if self.noted is Noted.ROW:
            self._rows[self.source] -= 1


class RefusalMeter:
    """Says which refusal gets a row, and counts the others until they are written."""

    def __init__(self, store: Counting, retention: Retention, *, now_ms: Callable[[], int] = unix_ms) -> None:
        self._store = store
        self._retention = retention
        self._now_ms = now_ms
        self._minute = 0
        self._rows: Counter[str] = Counter()
        self._counts: Counter[tuple[int, str, str]] = Counter()

    def place(self, source: str) -> Place:
        """For a call of this key that is, or may be, refused."""
        minute = self._now()
        if minute != self._minute:
            self._minute, self._rows = minute, Counter()
        return Place(self._rows, source, self._retention.rules.refusals_per_minute)

    def count(self, source: str, reason: str) -> None:
        self._counts[self._now(), source, reason] += 1

    def flush(self) -> list[Future[None]]:
        """Hand the counts to the store; those it does not take are counted on. The futures are done when they are written."""
        counts, self._counts = self._counts, Counter()
        rows = [
            RefusalCount(minute=minute, source=source, reason=reason, count=count)
            for (minute, source, reason), count in counts.items()
        ]
        return [self._write(rows[start : start + COUNTS_MAX]) for start in range(0, len(rows), COUNTS_MAX)]

    async def last_flush(self, wait_s: float) -> None:
        """The same at the end; what cannot be written within ``wait_s`` is lost, and said so."""
        if writing := self.flush():
            await wait(writing, timeout=wait_s)
        if lost := self._counts.total():
            log.warning("%d refusals are not counted: the ledger did not take them", lost)

    def _write(self, rows: Sequence[RefusalCount]) -> Future[None]:
        written = self._store.count_refusals(rows)
        written.add_done_callback(lambda done: self._put_back(done, rows))
        return written

    def _put_back(self, written: Future[None], rows: Sequence[RefusalCount]) -> None:
        if written.cancelled() or written.exception() is None:
            return  # nobody cancels it but a loop that ends, and the work goes on then
        for row in rows:
            self._counts[row.minute, row.source, row.reason] += row.count

    def _now(self) -> int:
        return self._now_ms() // MINUTE_MS * MINUTE_MS


class TurnedAway:
    """Hears, as ``telemetry.port.Observer``, of requests that came without a valid key, and has them counted."""

    def __init__(self, refusals: RefusalMeter) -> None:
        self._refusals = refusals

    def ended(self, call: Call, error: Exception | None) -> None:
        """It has its row."""

    def refused(self, call: Call, error: OrchError) -> None:
        """The journal was told of it."""

    def turned_away(self, error: OrchError) -> None:
        if isinstance(error, CallerError):
            self._refusals.count(NOBODY, error.reason)
