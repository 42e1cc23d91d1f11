"""``orch keys``: make a key and show it once, list keys, revoke one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from proxy.call import Role
from proxy.cli import show
from proxy.cli.ledgers import NAMESPACE, ConfigOption, NamespaceOption, with_admin, with_reader
from proxy.errors import BadRequest
from proxy.journal.admin import CreatedKey, KeyFacts, ListKeys, RevokeKey, checked, read_keys
from proxy.keys import NewKey

app = typer.Typer(help="Create, list and revoke keys.", rich_markup_mode=None, add_completion=False)

COLUMNS = (
    "id",
    "role",
    "namespace",
    "user",
    "workspace",
    "actions",
    "models",
    "operations",
    "name",
    "created",
    "revoked",
)


@app.command(epilog="Example: orch keys create --user ana --actions ai_message,ai_scan")
def create(
    user: Annotated[str | None, typer.Option(help="A key of this user: it pays from the user's energy.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="A key of your back end: it names the user of each call.")
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="A key that opens the admin routes.")] = False,
    namespace: NamespaceOption = NAMESPACE,
    workspace: Annotated[str | None, typer.Option(help="Bind the key to this workspace.")] = None,
    actions: Annotated[str | None, typer.Option(help="Only these actions, separated by commas.")] = None,
    models: Annotated[str | None, typer.Option(help="Only these models, separated by commas.")] = None,
    operations: Annotated[str | None, typer.Option(help="Only these: chat, embeddings.")] = None,
    name: Annotated[str | None, typer.Option(help="A note for the list of keys.")] = None,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Create a key and print it once: only a hash of it is kept."""
    asked = checked(
        NewKey,
        {
            "role": _role(user, Role.SERVICE if service else None, Role.ADMIN if admin else None),
            "namespace": namespace,
            "user": user,
            "workspace": workspace,
            "actions": _listed(actions),
            "models": _listed(models),
            "operations": _listed(operations),
            "name": name,
        },
    )
    _show_created(with_admin(config, lambda reached: reached.create_key(asked)), show.form(json))


@app.command("list", epilog="Example: orch keys list --namespace app")
def list_(
    namespace: Annotated[str | None, typer.Option(help="Only keys of this application.")] = None,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """List keys, revoked ones too. Secrets are not kept, so they cannot be shown."""
    asked = checked(ListKeys, {"namespace": namespace})
    found = with_reader(config, lambda reader: read_keys(reader, asked)).keys
    if show.form(json) is show.Form.JSON:
        show.as_json([key.model_dump(mode="json") for key in found])
        return
    show.rows(COLUMNS, (_row(key) for key in found))


@app.command(epilog="Example: orch keys revoke 1f6c0a52d9e34b78")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `orch keys list` shows it.")],
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Revoke a key. A running proxy refuses it from this moment on."""
    asked = checked(RevokeKey, {"key_id": _id(key_id)})
    revoked = with_admin(config, lambda reached: reached.revoke_key(asked))
    if show.form(json) is show.Form.JSON:
        show.as_json(revoked)
        return
    print(f"revoked {revoked.key_id}")


def _role(user: str | None, *named: Role | None) -> Role:
    roles = [role for role in (Role.USER if user is not None else None, *named) if role is not None]
    if len(roles) != 1:
        raise BadRequest("say whose key it is with one of --user NAME, --service, --admin")
    return roles[0]


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _id(text: str) -> str:
    """The id, also out of a whole key that was pasted; its secret goes no further."""
    return text.removeprefix("sk-orch-").partition("_")[0]


def _show_created(created: CreatedKey, form: show.Form) -> None:
    if form is show.Form.JSON:
        show.as_json(created)
        return
    print(created.key)
    whose = f"user {created.facts.user}" if created.facts.user is not None else created.facts.role.value
    if sys.stderr.isatty():
        show.note(
            f"This is key {created.facts.id} ({whose}, namespace {created.facts.namespace}). It is not shown again."
        )


def _row(key: KeyFacts) -> tuple[object, ...]:
    listed = (None if names is None else ",".join(names) for names in (key.actions, key.models, key.operations))
    bound = (key.id, key.role.value, key.namespace, key.user, key.workspace)
    return (*bound, *listed, key.name, show.day(key.created_at), show.day(key.revoked_at))
