"""Paging: so many rows as were asked for, page by page, and how to ask for those behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import typer

from proxy.cli import show
from proxy.journal.listing import PAGE_ROWS_MAX

Row = TypeVar("Row")

LimitOption = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, whatever --limit says.")]


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows of one question, and what the next one has to name; None: there are none."""

    rows: Sequence[Row]
    last: Any


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """The rows asked for. ``more``: what to name to get those behind them; None: that was all."""

    rows: Sequence[Row]
    more: Any

    def tell_more(self, option: str) -> None:
        """How to go on, for whoever looks at a list that was cut."""
        if self.more is not None:
            show.note(f"There are more: {option} {self.more}")


Read = Callable[[Any, int], Awaitable[Page[Row]]]
"""Reads a page: behind that row (None: from the beginning), with so many rows at most."""


async def paged(read: Read[Row], limit: int | None, *, after: Any = None) -> Found[Row]:
    """Up to ``limit`` rows (None: all) behind ``after``."""
    rows: list[Row] = []
    while limit is None or len(rows) < limit:
        size = PAGE_ROWS_MAX if limit is None else min(PAGE_ROWS_MAX, limit - len(rows))
        page = await read(after, size)
        rows += page.rows
        if len(page.rows) < size:
            return Found(rows, None)
        after = page.last
    rest = await read(after, 1)
    return Found(rows, after if rest.rows else None)
