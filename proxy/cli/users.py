"""``orch users``: open an account, give it energy, read its balance."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import show
from proxy.cli.ledgers import NAMESPACE, ConfigOption, NamespaceOption, loaded, opening, with_admin, with_reader
from proxy.errors import BadRequest
from proxy.journal.admin import POINTS_MAX, CreateUser, GivePoints, ReadBalance, UserBalance, checked, read_balance

app = typer.Typer(
    help="Create users, give them energy, read their balance.", rich_markup_mode=None, add_completion=False
)

COLUMNS = ("user", "namespace", "plan", "available", "held", "balance")

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
    start = opening(loaded(config), plan, energy)
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


def _show(found: UserBalance, form: show.Form) -> None:
    if form is show.Form.JSON:
        show.as_json(found)
        return
    show.rows(COLUMNS, [(found.user, found.namespace, found.plan, found.available, found.held, found.balance)])
