"""``orch users``: open an account, give it energy, read what became of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from proxy.call import Account
from proxy.cli import Exit, show
from proxy.cli.ledgers import NAMESPACE, ConfigOption, NamespaceOption, opening, with_admin, with_reader
from proxy.cli.paging import AllOption, Found, LimitOption, Page, paged
from proxy.errors import BadRequest
from proxy.journal.admin import (
    POINTS_MAX,
    CreateUser,
    GivePoints,
    ListKeys,
    ReadBalance,
    UserBalance,
    checked,
    read_balance,
    read_keys,
    unknown_user,
)
from proxy.journal.listing import EntryRow, GrantRow, UserRow
from proxy.journal.operations import EraseUser
from proxy.journal.reader import SqliteReader
from proxy.keys import check_namespace

app = typer.Typer(
    help="Create users, give them energy, look them up, erase them.", rich_markup_mode=None, add_completion=False
)

COLUMNS = ("user", "namespace", "plan", "available", "held", "balance")
LIST_COLUMNS = (*COLUMNS, "created")
GRANT_COLUMNS = ("grant", "kind", "amount", "remaining", "reason", "reference", "created", "used up")
ENTRY_COLUMNS = ("seq", "at", "kind", "points", "balance", "call", "reference")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id in your application.")]


@app.command(epilog="Example: orch users create ana --plan free --energy 25")
def create(
    user: UserArgument,
    plan: Annotated[str | None, typer.Option(help="A plan of energy.yaml. Default: its default plan.")] = None,
    energy: Annotated[int | None, typer.Option(help="Points to start with. Default: what the plan grants.")] = None,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Create a user with its starting energy. A user who exists is left as it is."""
    if energy is not None and energy < 1:
        raise BadRequest(f"--energy has to be a whole number from 1 to {POINTS_MAX}, not {energy}", param="energy")
    start = opening(config, plan, energy)
    asked = checked(CreateUser, {"user": user, "namespace": namespace, "plan": start.plan, "points": start.points})
    _show(with_admin(config, lambda reached: reached.create_user(asked)), show.form(json))


@app.command(epilog="Example: orch users grant ana 100 --reason 'thank you' --ref invoice-7")
def grant(
    user: UserArgument,
    points: Annotated[int, typer.Argument(help=f"A whole number from 1 to {POINTS_MAX}.")],
    reason: Annotated[str | None, typer.Option(help="Why; kept in the ledger.")] = None,
    ref: Annotated[str | None, typer.Option(metavar="SOURCE_REF", help="The same reference counts once.")] = None,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Give a user energy."""
    asked = checked(
        GivePoints, {"user": user, "namespace": namespace, "points": points, "reason": reason, "source_ref": ref}
    )
    _show(with_admin(config, lambda reached: reached.grant(asked)), show.form(json))


@app.command(epilog="Example: orch users balance ana")
def balance(
    user: UserArgument,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Show a user's energy: what can be spent, and what running calls hold."""
    asked = checked(ReadBalance, {"user": user, "namespace": namespace})
    _show(with_reader(config, lambda reader: read_balance(reader, asked)), show.form(json))


@app.command("list", epilog="Example: orch users list --namespace app --limit 100")
def list_(
    namespace: Annotated[str | None, typer.Option(help="Only users of this application.")] = None,
    limit: LimitOption = 50,
    after: Annotated[str | None, typer.Option(metavar="NAMESPACE/USER", help="Those behind this one.")] = None,
    every: AllOption = False,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """List users and their energy, in the order of their names."""

    within = None if namespace is None else check_namespace(namespace)

    async def read(reader: SqliteReader, after: str | None, limit: int) -> Page[UserRow]:
        found = await reader.users(within, after=after, limit=limit)
        return Page(found, found[-1].account if found else None)

    wanted = None if every else limit
    found = with_reader(config, lambda reader: paged(partial(read, reader), wanted, after=after))
    if show.form(json) is show.Form.JSON:
        show.as_json([asdict(row) | {"available": row.available} for row in found.rows])
        return
    show.rows(LIST_COLUMNS, (_user(row) for row in found.rows))
    found.tell_more("--after")


@app.command("show", epilog="Example: orch users show ana")
def show_(
    user: UserArgument,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Show a user: the energy, where it came from, the keys."""
    asked = checked(ReadBalance, {"user": user, "namespace": namespace})

    async def read(reader: SqliteReader) -> tuple[UserBalance, Sequence[GrantRow], list[str]]:
        balance = await read_balance(reader, asked)
        grants = await reader.grants(Account(namespace, user).id)
        keys = await read_keys(reader, ListKeys(namespace=namespace))
        return balance, grants, [key.id for key in keys.keys if key.user == user and key.revoked_at is None]

    balance, grants, keys = with_reader(config, read)
    if show.form(json) is show.Form.JSON:
        show.as_json({**balance.model_dump(), "grants": [asdict(grant) for grant in grants], "keys": keys})
        return
    show.fields({**{name: getattr(balance, name) for name in COLUMNS}, "keys": ", ".join(keys) or None})
    print()
    show.rows(GRANT_COLUMNS, (_grant(grant) for grant in grants))


@app.command(epilog="Example: orch users history ana --limit 20")
def history(
    user: UserArgument,
    limit: LimitOption = 50,
    before: Annotated[int | None, typer.Option(metavar="SEQ", min=1, help="Those before this one.")] = None,
    every: AllOption = False,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Show every change of a user's energy, newest first: what was given, what calls were charged."""
    asked = checked(ReadBalance, {"user": user, "namespace": namespace})
    account = Account(asked.namespace, asked.user)

    async def page(reader: SqliteReader, before: int | None, limit: int) -> Page[EntryRow]:
        found = await reader.entries(account.id, before=before, limit=limit)
        return Page(found, found[-1].seq if found else None)

    async def read(reader: SqliteReader) -> Found[EntryRow]:
        if await reader.balance(account.id) is None:
            raise unknown_user(account)
        return await paged(partial(page, reader), None if every else limit, after=before)

    found = with_reader(config, read)
    if show.form(json) is show.Form.JSON:
        show.as_json([asdict(row) for row in found.rows])
        return
    show.rows(ENTRY_COLUMNS, (_entry(row) for row in found.rows))
    found.tell_more("--before")


@app.command(epilog="Example: orch users erase ana --yes")
def erase(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    namespace: NamespaceOption = NAMESPACE,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Take a user's name out of everything: account, calls, keys. It cannot be undone; the books stay as they are.

    The user's keys are revoked. Points, charges and costs stay, under a pseudonym that nobody can lead back.
    """
    asked = checked(EraseUser, {"user": user, "namespace": namespace})
    if not yes:
        _ask_first(asked)
    with show.busy("erasing"):
        done = with_admin(config, lambda reached: reached.erase_user(asked))
    if done.pseudonym is None:
        raise unknown_user(Account(asked.namespace, asked.user))
    if show.form(json) is show.Form.JSON:
        show.as_json(done)
        return
    print(f"{asked.namespace}/{asked.user} is {done.pseudonym} now: {done.calls} calls, {len(done.keys)} keys revoked")
    if not done.clean:
        show.note("the store's log still holds the name until whoever reads it is done; the proxy empties it then")


def _ask_first(asked: EraseUser) -> None:
    if not sys.stdin.isatty():
        raise BadRequest("this cannot be undone: repeat it with --yes", param="--yes")
    if not typer.confirm(f"Erase {asked.namespace}/{asked.user}? This cannot be undone.", err=True):
        raise typer.Exit(Exit.USAGE)


def _show(found: UserBalance, form: show.Form) -> None:
    if form is show.Form.JSON:
        show.as_json(found)
        return
    show.rows(COLUMNS, [(found.user, found.namespace, found.plan, found.available, found.held, found.balance)])


def _user(row: UserRow) -> tuple[object, ...]:
    return row.user, row.namespace, row.plan, row.available, row.held, row.balance, show.day(row.created_at)


def _grant(row: GrantRow) -> tuple[object, ...]:
    named = (row.id, row.kind, row.amount, row.remaining, row.reason, row.source_ref)
    return (*named, show.day(row.created_at), show.day(row.closed_at))


def _entry(row: EntryRow) -> tuple[object, ...]:
    return row.seq, show.day(row.at), row.kind, row.points, row.balance_after, row.call_id, row.op_ref
