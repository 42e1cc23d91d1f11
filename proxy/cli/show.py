"""What commands print: tables on a terminal, tab-separated text in a pipe, JSON when asked for."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from proxy.edge import headers


class Form(Enum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def form(json_asked: JsonOption) -> Form:
    return Form.JSON if json_asked else Form.TEXT


def as_json(answer: BaseModel | Sequence[object] | Mapping[str, object]) -> None:
    """One JSON value on stdout, on a line of its own."""
    shown = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    print(json.dumps(shown, ensure_ascii=False))


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; else a line of column names and a line a row, cells separated by tabs."""
    if sys.stdout.isatty():
        Console().print(table(columns, lines))
        return
    print("\t".join(column.upper() for column in columns))
    for line in lines:
        print("\t".join(_cell(value) for value in line))


def table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> Table:
    """The table of a terminal; columns of figures are set to the right."""
    cells = [[_cell(value) for value in line] for line in lines]
    made = Table(box=None, pad_edge=False, header_style="bold")
    for at, column in enumerate(columns):
        figures = bool(cells) and all(_FIGURE.fullmatch(line[at]) for line in cells)
        made.add_column(column, justify="right" if figures else "left", overflow="fold")
    for line in cells:
        made.add_row(*(Text(cell) for cell in line))
    return made


def line(cells: Sequence[object]) -> str:
    """A row that is printed alone, as it comes: its cells separated by tabs in a pipe, by blanks for a reader."""
    return ("  " if sys.stdout.isatty() else "\t").join(_cell(value) for value in cells)


def watched() -> bool:
    """Whether a person looks at the answer."""
    return sys.stdout.isatty()


def fields(named: Mapping[str, object]) -> None:
    """One thing: its fields on lines of their own, separated by a tab in a pipe."""
    wide = max(map(len, named)) if sys.stdout.isatty() else 0
    for name, value in named.items():
        print(f"{name:<{wide}}  {_cell(value)}" if wide else f"{name}\t{_cell(value)}")


def as_csv(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """RFC 4180, but that a line ends as lines do here; what nobody knows is an empty cell."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(columns)
    out.writerows(["" if value is None else _spreadsheet_safe(str(value)) for value in line] for line in lines)


@contextmanager
def busy(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while something takes long, where somebody looks; call it with the share that is done, 0 to 1."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda share: progress.update(task, total=1.0, completed=share)


def note(text: str) -> None:
    """A line for the person at the terminal; on stderr, so that a pipe gets only the answer."""
    print(text, file=sys.stderr)


def day(unix_ms: int | None) -> str | None:
    """A time as UTC text; None stays None."""
    return None if unix_ms is None else datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def usd(nanousd: int | None) -> str | None:
    """Nano-dollars as an exact decimal of dollars; what nobody knows stays None."""
    return None if nanousd is None else headers.usd(nanousd)


def size(count: int | None) -> str | None:
    """Bytes for people."""
    if count is None:
        return None
    step = min(4, max(0, (abs(count).bit_length() - 1) // 10))
    return f"{count} B" if step == 0 else f"{count / 1024**step:.1f} {'KMGT'[step - 1]}iB"


_FIGURE = re.compile(r"-|-?[0-9][0-9.,%]*")
_FORMULA = ("=", "+", "-", "@")


def _spreadsheet_safe(text: str) -> str:
    """A user's name is no formula: a spreadsheet would run it."""
    return f"'{text}" if text.startswith(_FORMULA) and not _FIGURE.fullmatch(text) else text


def _cell(value: object) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else "" if value is None else str(value)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text) or "-"
