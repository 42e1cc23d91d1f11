"""``orch calls``: list them, show one, follow them live, watch what runs."""

from __future__ import annotations

import asyncio
import json as json_texts
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from proxy.cli import Exit, show
from proxy.cli.callrows import (
    COLUMNS,
    ActionOption,
    ErrorOption,
    KeyOption,
    ModelOption,
    NamespaceOption,
    OutcomeOption,
    Row,
    UserOption,
    ending,
    listed,
    outcome,
    whole,
    whose,
)
from proxy.cli.following import Follower
from proxy.cli.ledgers import ConfigOption, with_reader
from proxy.cli.paging import AllOption, LimitOption, Page, paged
from proxy.cli.times import SinceOption, UntilOption, span
from proxy.cli.toplist import By, Top
from proxy.errors import NotFound
from proxy.journal.reader import SqliteReader

app = typer.Typer(help="Look at calls: list, show, follow live.", rich_markup_mode=None, add_completion=False)

ATTEMPT_COLUMNS = ("attempt", "model", "upstream", "upstream model", "status", "error", "began ms", "ended ms")


@app.callback()
def calls() -> None:
    """Look at calls: list, show, follow live."""


@app.command("list", epilog="Example: orch calls list --user ana --since 1d --outcome failed")
def list_(
    user: UserOption = None,
    namespace: NamespaceOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
    action: ActionOption = None,
    ended: OutcomeOption = None,
    error: ErrorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Those before this one.")] = None,
    every: AllOption = False,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """List calls, newest first. Times are UTC; points are what was charged, less what was given back."""
    begin, end = span(since, until)
    named = replace(whose(user, namespace), key_id=key, model=model, action=action, error=error)
    wanted = replace(named, since_ms=begin, until_ms=end, **outcome(ended))

    async def read(reader: SqliteReader, before: str | None, limit: int) -> Page[Row]:
        found = await reader.calls(wanted, before=before, limit=limit)
        return Page(found, found[-1]["id"] if found else None)

    count = None if every else limit
    found = with_reader(config, lambda reader: paged(partial(read, reader), count, after=before))
    if show.form(json) is show.Form.JSON:
        show.as_json([whole(row) for row in found.rows])
        return
    show.rows(COLUMNS, (listed(row) for row in found.rows))
    found.tell_more("--before")


@app.command("show", epilog="Example: orch calls show 01928a3c-5d1e-7c3b-9f00-2a1b3c4d5e6f")
def show_(
    call_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id, as x-request-id and `orch calls list` have it.")
    ],
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Show all that is recorded of one call, each attempt too."""
    row = with_reader(config, lambda reader: reader.call(call_id))
    if row is None:
        raise NotFound(f"there is no call with the id {call_id[:100]!r}; `orch calls list` shows the ids")
    told = whole(row)
    if show.form(json) is show.Form.JSON:
        show.as_json(told)
        return
    attempts = told.pop("attempts") or []
    told["cost_usd"] = show.usd(told.pop("cost_nanousd"))
    show.fields({name: _field(name, value) for name, value in told.items()})
    if attempts:
        print()
        show.rows(ATTEMPT_COLUMNS, (_attempt(at, attempt) for at, attempt in enumerate(attempts, 1)))


@app.command(epilog="Example: orch calls tail --user ana --count 10")
def tail(
    user: UserOption = None,
    namespace: NamespaceOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
    action: ActionOption = None,
    ended: OutcomeOption = None,
    error: ErrorOption = None,
    last: Annotated[int, typer.Option(min=0, max=1000, help="Begin with so many that have ended already.")] = 10,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many. Default: at Ctrl-C.")] = None,
    every: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="How often to look.")] = 0.5,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Follow calls live: one line for each when it has ended. With --json each line is an object."""
    named = replace(whose(user, namespace), key_id=key, model=model, action=action, error=error)
    follower = Follower(replace(named, **ending(ended)), every_s=every, last=last)
    as_json = show.form(json) is show.Form.JSON

    async def follow(reader: SqliteReader) -> None:
        left = count
        if not as_json:
            print(show.line([column.upper() for column in COLUMNS]), flush=True)
        async for row in follower.rows(reader):
            print(json_texts.dumps(whole(row), ensure_ascii=False) if as_json else show.line(listed(row)), flush=True)
            left = left and left - 1
            if left == 0:
                return

    _until_ctrl_c(follow, config)


@app.command(epilog="Example: orch calls top --by user")
def top(
    by: Annotated[By, typer.Option(help="What to group by.")] = By.MODEL,
    window: Annotated[
        int, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Of the last so many seconds.")
    ] = 60,
    every: Annotated[float, typer.Option(min=0.5, max=60, metavar="SECONDS", help="How often to look.")] = 2,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Watch what runs and what just ended, by model or user: until Ctrl-C on a terminal, once in a pipe."""
    seen = Top(by, window_s=window)
    if show.form(json) is show.Form.JSON:
        show.as_json(with_reader(config, seen.read).as_object())
    elif show.watched():
        _until_ctrl_c(lambda reader: seen.watch(reader, every_s=every), config)
    else:
        show.rows(seen.columns, with_reader(config, seen.read).rows())


def _until_ctrl_c(work: Any, config: Any) -> None:
    """What ends when the person has seen enough: that is its success."""
    try:
        with_reader(config, work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(Exit.OK) from None


def _field(name: str, value: object) -> object:
    if name.endswith("_at") and isinstance(value, int):
        return show.day(value)
    return ", ".join(map(str, value)) or None if isinstance(value, list) else value


def _attempt(at: int, attempt: Row) -> tuple[object, ...]:
    named = ("model", "upstream", "upstream_model", "status", "error", "started_ms", "ended_ms")
    return (at, *(attempt.get(name) for name in named))
