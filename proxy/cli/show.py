"""What commands print: tables on a terminal, tab-separated text in a pipe, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Form(Enum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def form(json_asked: JsonOption) -> Form:
    return Form.JSON if json_asked else Form.TEXT


def as_json(answer: BaseModel | Sequence[object]) -> None:
    """One JSON value on stdout."""
    shown = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    print(json.dumps(shown, ensure_ascii=False))


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; else a line of column names and a line a row, cells separated by tabs."""
    cells = [[_cell(value) for value in line] for line in lines]
    if not sys.stdout.isatty():
        for line in [[column.upper() for column in columns], *cells]:
            print("\t".join(line))
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def note(text: str) -> None:
    """A line for the person at the terminal; on stderr, so that a pipe gets only the answer."""
    print(text, file=sys.stderr)


def day(unix_ms: int | None) -> str | None:
    """A time as UTC text; None stays None."""
    return None if unix_ms is None else datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
