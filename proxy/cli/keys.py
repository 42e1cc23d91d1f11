"""``orch keys``: make a key and show it once, list keys, put a fresh one in one's place, revoke one."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated

import typer

from proxy.call import Operation, Role
from proxy.cli import show
from proxy.cli.ledgers import NAMESPACE, ConfigOption, NamespaceOption, loaded, with_admin, with_reader
from proxy.cli.times import length_s
from proxy.errors import BadRequest, ConfigError
from proxy.journal.admin import CreatedKey, KeyFacts, ListKeys, RevokeKey, checked, read_keys
from proxy.journal.operations import RotateKey
from proxy.keys import NewKey
from proxy.policy import Rewrite, energy_prices
from proxy.policy.naming import did_you_mean, listing

app = typer.Typer(help="Create, list, rotate and revoke keys.", rich_markup_mode=None, add_completion=False)

GLOB = frozenset("*?[")
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
    "good until",
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
    _check_names(config, asked)
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


@app.command(epilog="Example: orch keys rotate 1f6c0a52d9e34b78 --grace 1d")
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `orch keys list` shows it.")],
    grace: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the old key is still good: 10m, 2h, 1d. Default: not at all."),
    ] = None,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Put a fresh key of the same rights in a key's place, and print it once."""
    grace_s = 0 if grace is None else round(length_s(grace, "--grace"))
    asked = checked(RotateKey, {"key_id": _id(key_id), "grace_s": grace_s})
    _show_created(with_admin(config, lambda reached: reached.rotate_key(asked)), show.form(json))


def _role(user: str | None, *named: Role | None) -> Role:
    roles = [role for role in (Role.USER if user is not None else None, *named) if role is not None]
    if len(roles) != 1:
        raise BadRequest("say whose key it is with one of --user NAME, --service, --admin")
    return roles[0]


def _check_names(config: Path | None, asked: NewKey) -> None:
    """Refuse actions and models that nobody can name; a glob may be for those to come. Warn where nobody can tell."""
    if not (asked.actions or asked.models):
        return
    try:
        found = loaded(config)
    except ConfigError as error:
        show.note(f"warning: the configuration does not load here, so names were not checked: {error.problems[0]}")
        return
    prices = energy_prices(found.policies)
    if prices is not None:
        _check_known("action", asked.actions or (), {name for does in Operation for name in prices.actions_for(does)})
    aliases = {alias for policy in found.policies if isinstance(policy, Rewrite) for alias in policy.alias}
    _check_known("model", asked.models or (), {*found.models, *aliases})


def _check_known(noun: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known and not GLOB.intersection(name):
            hint = did_you_mean(name, known) or f"; there are {listing(known)}"
            raise BadRequest(f"there is no {noun} {name!r}{hint}", param=f"--{noun}s")


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
    return (*bound, *listed, key.name, *map(show.day, (key.created_at, key.revoked_at, key.expires_at)))
