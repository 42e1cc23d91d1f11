"""``orch report``: what calls used and cost, added up."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import typer

from proxy.cli import show
from proxy.cli.callrows import whose
from proxy.cli.ledgers import ConfigOption, with_reader
from proxy.cli.times import SinceOption, UntilOption, span
from proxy.errors import BadRequest
from proxy.journal.listing import GROUPS, UsageRow, grouping

app = typer.Typer(help="Add up what calls used and cost.", rich_markup_mode=None, add_completion=False)

FIGURES = (
    *("calls", "answered", "failed", "refused", "points_charged", "points_refunded"),
    *("input_tokens", "output_tokens", "cost_nanousd", "cost_unknown"),
)
COLUMNS = (
    "calls",
    "answered",
    "failed",
    "refused",
    "points",
    "refunded",
    "tokens in",
    "tokens out",
    "usd",
    "usd unknown",
)


class Format(Enum):
    """How a report is written where it is not JSON."""

    TABLE = "table"
    CSV = "csv"


@app.callback()
def report() -> None:
    """Add up what calls used and cost."""


@app.command(epilog="Example: orch report usage --by user,model --since 30d --csv")
def usage(
    by: Annotated[str, typer.Option(metavar="WHAT", help=f"One or more, with commas: {', '.join(GROUPS)}.")] = "day",
    since: SinceOption = None,
    until: UntilOption = None,
    namespace: Annotated[str | None, typer.Option(help="Only this application's.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Answer in CSV, for spreadsheets.")] = False,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Add up calls, points, tokens and dollars. Dollars are a lower bound where the cost of answers is not known.

    Days are UTC. Calls that were pruned are in no report.
    """
    if csv and json:
        raise BadRequest("--csv and --json are two answers: choose one", param="--csv")
    within = whose(None, namespace).namespace
    groups = grouping([name.strip() for name in by.split(",")])
    begin, end = span(since, until)
    with show.busy("adding up"):
        found = with_reader(config, lambda reader: reader.usage(groups, since_ms=begin, until_ms=end, namespace=within))
    if json:
        show.as_json([{**row.key, **{name: getattr(row, name) for name in FIGURES}} for row in found])
        return
    _write(groups, found, Format.CSV if csv else Format.TABLE)


def _write(groups: Sequence[str], found: Sequence[UsageRow], form: Format) -> None:
    lines = [(*(row.key[name] for name in groups), *_figures(row)) for row in found]
    if form is Format.CSV:
        show.as_csv((*groups, *(column.replace(" ", "_") for column in COLUMNS)), lines)
    else:
        show.rows((*groups, *COLUMNS), lines)


def _figures(row: UsageRow) -> tuple[object, ...]:
    counts = (row.calls, row.answered, row.failed, row.refused, row.points_charged, row.points_refunded)
    return (*counts, row.input_tokens, row.output_tokens, show.usd(row.cost_nanousd), row.cost_unknown)
