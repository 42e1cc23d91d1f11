"""The view of ``orch calls top``: what runs now and what just ended, by model or by user."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from proxy.cli import show
from proxy.cli.callrows import Row
from proxy.journal.listing import PAGE_ROWS_MAX, CallFilter
from proxy.journal.reader import SqliteReader

ROWS_READ_MAX = 10_000
"""Calls that are looked at; a busier window is cut to its end."""

RUNNING_SHOWN = 10
GROUPS_SHOWN = 20


class By(StrEnum):
    """What calls are put together by."""

    MODEL = "model"
    USER = "user"


@dataclass(slots=True)
class Line:
    """What the calls of one model or user came to. ``ms``: how long those that ended took."""

    name: str
    running: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    points: int = 0
    ms: list[int] = field(default_factory=list)

    def add(self, row: Row) -> None:
        if row["state"] == "open":
            self.running += 1
            return
        self.answered += row["how"] == "answered"
        self.refused += row["state"] == "refused"
        self.failed += row["how"] not in ("answered", None)
        self.points += row["points_charged"] - row["points_refunded"]
        self.ms += [] if row["duration_ms"] is None else [row["duration_ms"]]

    @property
    def calls(self) -> int:
        return self.running + self.answered + self.failed + self.refused

    def median_ms(self) -> int | None:
        return sorted(self.ms)[len(self.ms) // 2] if self.ms else None

    def cells(self) -> tuple[object, ...]:
        ended = (self.answered, self.failed, self.refused, self.points, self.median_ms(), max(self.ms, default=None))
        return (self.name, self.running, *ended)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look: the groups, busiest first, and the running calls, oldest first. ``cut``: there were more calls than were read."""

    at_ms: int
    lines: Sequence[Line]
    running: Sequence[Row]
    cut: bool

    def rows(self) -> list[tuple[object, ...]]:
        return [line.cells() for line in self.lines]

    def as_object(self) -> dict[str, Any]:
        lines = [{**asdict(line), "ms": line.median_ms(), "ms_max": max(line.ms, default=None)} for line in self.lines]
        return {"at": self.at_ms, "cut": self.cut, "groups": lines, "running": [row["id"] for row in self.running]}


@dataclass(frozen=True, slots=True)
class Top:
    """Reads snapshots of the last ``window_s`` seconds."""

    by: By
    window_s: int

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by.value, "running", "answered", "failed", "refused", "points", "median ms", "longest ms")

    async def read(self, reader: SqliteReader) -> Snapshot:
        now = time.time_ns() // 1_000_000
        running = await reader.calls(CallFilter(state="open"), limit=PAGE_ROWS_MAX)
        ended, cut = await self._ended(reader, now)
        lines: defaultdict[str, Line] = defaultdict(lambda: Line(""))
        for row in (*running, *ended):
            name = row["account"] if self.by is By.USER else row["model"] or row["requested_model"]
            lines[name].name = name
            lines[name].add(row)
        ordered = sorted(lines.values(), key=lambda line: (-line.running, -line.calls, line.name))
        return Snapshot(now, ordered, running[::-1], cut)

    async def watch(self, reader: SqliteReader, *, every_s: float) -> None:
        """Show a snapshot on the terminal every so often, for ever."""
        with Live(console=Console(), auto_refresh=False, screen=False) as live:
            while True:
                live.update(self._view(await self.read(reader)), refresh=True)
                await asyncio.sleep(every_s)

    async def _ended(self, reader: SqliteReader, now: int) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        before: str | None = None
        while len(rows) < ROWS_READ_MAX:
            page = await reader.calls(
                CallFilter(since_ms=now - self.window_s * 1000), before=before, limit=PAGE_ROWS_MAX
            )
            rows += page
            if len(page) < PAGE_ROWS_MAX:
                return [row for row in rows if row["state"] != "open"], False
            before = page[-1]["id"]
        return [row for row in rows if row["state"] != "open"], True

    def _view(self, seen: Snapshot) -> Group:
        at = datetime.fromtimestamp(seen.at_ms / 1000, UTC).strftime("%H:%M:%SZ")
        total = "more than " if seen.cut else ""
        ended = sum(line.calls - line.running for line in seen.lines)
        head = f"{at}  {len(seen.running)} running, {total}{ended} ended in {self.window_s} s  (Ctrl-C ends this)"
        running = [_running(row, seen.at_ms) for row in seen.running[:RUNNING_SHOWN]]
        return Group(
            Text(head, style="bold"),
            Text(""),
            show.table(self.columns, seen.rows()[:GROUPS_SHOWN]),
            Text(""),
            show.table(("running", "user", "model", "action", "for s"), running),
        )


def _running(row: Row, now_ms: int) -> tuple[object, ...]:
    for_s = f"{max(0, now_ms - row['created_at']) / 1000:.1f}"
    return row["id"], row["account"], row["model"] or row["requested_model"], row["action"], for_s
