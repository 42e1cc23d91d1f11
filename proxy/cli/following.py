"""Following calls live: each call once, when it has ended, in about the order of the ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.cli.callrows import Row, keeps
from proxy.journal.listing import PAGE_ROWS_MAX, CallFilter
from proxy.journal.reader import SqliteReader

PENDING_MAX = 10_000
"""Running calls that are waited for; of more, the oldest are given up."""


@dataclass(slots=True)
class Follower:
    """Looks at a ledger every so often. It writes nothing and holds nobody: each look is a short read."""

    wanted: CallFilter
    every_s: float
    last: int
    _seen: str = ""
    _told: frozenset[str] = frozenset()  # at the beginning: the first look may meet them again
    _pending: dict[str, None] = field(default_factory=dict)

    async def rows(self, reader: SqliteReader) -> AsyncIterator[Row]:
        """The last ones that have ended, then each one as it ends, for ever."""
        for row in await self._begin(reader):
            yield row
        while True:
            for row in await self._look(reader):
                yield row
            await asyncio.sleep(self.every_s)

    @property
    def _started(self) -> CallFilter:
        """What is known of a wanted call from its beginning."""
        return replace(self.wanted, model=None, state=None, how=None, error=None)

    async def _begin(self, reader: SqliteReader) -> Sequence[Row]:
        # In this order a call that begins or ends meanwhile is met twice at most, and never missed.
        newest = await reader.calls(CallFilter(), limit=1)
        self._seen = newest[0]["id"] if newest else ""
        running = await reader.calls(replace(self._started, state="open"), limit=PAGE_ROWS_MAX)
        self._pending = dict.fromkeys(row["id"] for row in reversed(running))
        if not self.last:
            return ()
        ended = await reader.calls(self.wanted, limit=self.last)
        first = [row for row in reversed(ended) if row["state"] != "open" and row["id"] not in self._pending]
        self._told = frozenset(row["id"] for row in first)
        return first

    async def _look(self, reader: SqliteReader) -> list[Row]:
        """The wanted calls that have ended since the last look."""
        fresh: list[Row] = []
        while page := await reader.calls(self._started, after=self._seen, limit=PAGE_ROWS_MAX):
            fresh += page
            self._seen = page[-1]["id"]
        fresh = [row for row in fresh if row["id"] not in self._told and row["id"] not in self._pending]
        self._told = frozenset()
        ended = [row for row in fresh if row["state"] != "open"]
        ended += await self._ended(reader)
        self._pending |= dict.fromkeys(row["id"] for row in fresh if row["state"] == "open")
        for oldest in list(self._pending)[: len(self._pending) - PENDING_MAX]:
            del self._pending[oldest]
        return [row for row in ended if keeps(self.wanted, row)]

    async def _ended(self, reader: SqliteReader) -> list[Row]:
        """Those waited for that are open no more."""
        if not self._pending:
            return []
        running = await reader.calls(replace(self._started, state="open"), limit=PAGE_ROWS_MAX)
        over = self._pending.keys() - {row["id"] for row in running}
        rows = [row for call_id in sorted(over) if (row := await reader.call(call_id)) is not None]
        for call_id in over:
            del self._pending[call_id]
        still = [row["id"] for row in rows if row["state"] == "open"]  # more run than one page shows
        self._pending |= dict.fromkeys(still)
        return [row for row in rows if row["state"] != "open"]
