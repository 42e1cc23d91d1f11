"""``orch reload``: have the running proxy read its configuration anew, and hear what it says."""

from __future__ import annotations

import sys

import typer

from proxy.cli import Exit, show
from proxy.cli.ledgers import ConfigOption, naming, stored, with_admin
from proxy.errors import BadRequest
from proxy.journal import lock
from proxy.journal.operations import AskReload

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example: orch reload")
def reload(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Have the running proxy read its configuration anew: its own file, in its own environment.

    Exit 1 with every problem on a line of its own when it is refused; the last good one goes on then.
    """
    database = stored(config).database
    with naming(database):
        running = lock.holder(database)
    if running is None:
        raise BadRequest("no proxy runs on this store, so there is nothing to reload; a start reads the files anyway")
    done = with_admin(config, lambda reached: reached.reload(AskReload()))
    if show.form(json) is show.Form.JSON:
        show.as_json(done)
    else:
        for problem in done.problems:
            print(problem, file=sys.stderr)
        for note in done.notes:
            print(f"hint: {note}")
        print(f"{'refused; still live' if done.problems else 'live'}: policy version {done.policy_version}")
    if done.problems:
        raise typer.Exit(Exit.NOT_OK)
