"""``orch db``: bring the store to this program's schema, copy it while calls go on, say how it is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli import show
from proxy.cli.ledgers import ConfigOption, existing, naming, stored
from proxy.journal.backup import back_up
from proxy.journal.status import Status, Upgraded, status, upgrade
from proxy.journal.upgrade import VERSIONS, schema_version

app = typer.Typer(help="Upgrade the store, back it up, say how it is.", rich_markup_mode=None, add_completion=False)


@app.callback()
def db() -> None:
    """Upgrade the store, back it up, say how it is."""


@app.command("upgrade", epilog="Example: orch db upgrade")
def upgrade_(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Bring the store to this program's schema, in one step or not at all; the proxy does the same when it starts.

    Stop the proxy first, and make a backup.
    """
    database = stored(config).database
    done = _upgraded(database)
    if show.form(json) is show.Form.JSON:
        show.as_json({"path": str(database), "before": done.before, "after": done.after})
    elif done.before == done.after:
        print(f"{database} has schema {done.after} already; nothing was changed")
    else:
        print(f"{database}: schema {done.before or 'none (it was made)'} -> {done.after}")


@app.command("status", epilog="Example: orch db status --json")
def status_(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Say where the store is, its schema and sizes, how much is in it, and who writes it."""
    database = existing(stored(config).database)
    with naming(database):
        found = asyncio.run(status(database))
    told = _told(found)
    if show.form(json) is show.Form.JSON:
        show.as_json(told)
        return
    sizes = {name: show.size(told[name]) for name in ("size_bytes", "log_bytes")}
    shown = {**told, **sizes, "oldest_open_at": show.day(told["oldest_open_at"])}
    show.fields({name.removesuffix("_bytes").replace("_", " "): value for name, value in shown.items()})


@app.command(epilog="Example: orch db backup /backups/orch-monday.db")
def backup(
    to: Annotated[
        Path, typer.Argument(help="A file that is not there yet, or a directory: then it is named by the time.")
    ],
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Copy the store into one file, from one moment, verified; also while the proxy runs.

    Keep the file `secret` (or ORCH_SECRET) with it: without it no key works.
    """
    database = existing(stored(config).database)
    named = to / time.strftime(f"{database.stem}-%Y%m%dT%H%M%SZ.db", time.gmtime()) if to.is_dir() else to
    with naming(database), show.busy("copying") as done:
        copied = asyncio.run(
            back_up(database, named.absolute(), progress=lambda pages, total: done(pages / max(1, total)))
        )
    if show.form(json) is show.Form.JSON:
        show.as_json({"to": str(copied.to), "size_bytes": copied.size_bytes})
        return
    print(f"{copied.to}: {show.size(copied.size_bytes)}, verified")
    show.note(f"keep {database.parent / 'secret'} (or ORCH_SECRET) with it: without it no key works")


def _upgraded(database: Path) -> Upgraded:
    with naming(database), show.busy("upgrading"):
        if schema_version(database) == VERSIONS[-1]:
            return Upgraded(VERSIONS[-1], VERSIONS[-1])  # also while a proxy holds it
        return asyncio.run(upgrade(database))


def _told(found: Status) -> dict[str, Any]:
    totals, holder = found.totals, found.holder
    return {
        "path": str(found.path),
        "schema": found.schema,
        "own_schema": found.own_schema,
        "size_bytes": found.size_bytes,
        "log_bytes": found.log_bytes,
        "accounts": totals and totals.accounts,
        "calls": totals and totals.calls,
        "entries": totals and totals.entries,
        "open_calls": totals and totals.open_calls,
        "oldest_open_at": totals and totals.oldest_open_at,
        "points_held": totals and totals.points_held,
        "written_by": holder and f"process {holder.pid} ({holder.owner})",
    }
