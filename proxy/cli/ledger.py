"""``orch ledger``: check that the books balance."""

from __future__ import annotations

from dataclasses import asdict

import typer

from proxy.cli import Exit, show
from proxy.cli.ledgers import ConfigOption, with_reader

app = typer.Typer(help="Check the ledger's books.", rich_markup_mode=None, add_completion=False)


@app.callback()
def ledger() -> None:
    """Check the ledger's books."""


@app.command(epilog="Example: orch ledger verify")
def verify(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Check every invariant from one snapshot; print the rows that break one and exit with 1."""
    with show.busy("checking"):
        broken = with_reader(config, lambda reader: reader.verify())
    if show.form(json) is show.Form.JSON:
        show.as_json([asdict(row) for row in broken])
    elif broken:
        show.rows(("invariant", "row", "detail"), ((row.invariant, row.row, row.detail) for row in broken))
    else:
        print("ok: every invariant holds")
    if broken:
        raise typer.Exit(Exit.NOT_OK)
