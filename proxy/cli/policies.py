"""``orch policies``: the chain as it is, and what can be put into it."""

from __future__ import annotations

import json as json_texts
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from proxy.cli import show
from proxy.cli.ledgers import ConfigOption, loaded, stored, with_reader
from proxy.cli.live import live_policy
from proxy.config import Loaded
from proxy.config.policies import kinds as known_kinds
from proxy.config.reference import described
from proxy.errors import BadRequest, NotFound
from proxy.journal.reader import SqliteReader
from proxy.policy import PolicyBase
from proxy.policy.naming import did_you_mean, listing

app = typer.Typer(help="Show the chain, and what can be put into it.", rich_markup_mode=None, add_completion=False)

KEPT_FILES = "SELECT files FROM policy_versions WHERE version = :version"


@app.callback()
def policies() -> None:
    """Show the chain, and what can be put into it."""


@app.command(epilog="Example: orch policies kinds retry")
def kinds(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Only this one.")] = None,
    json: show.JsonOption = False,
) -> None:
    """List the kinds of policies with their settings."""
    known = known_kinds()
    if kind is not None and kind not in known:
        raise BadRequest(
            f"there is no policy of the kind {kind!r}{did_you_mean(kind, known)}; there are {listing(known)}"
        )
    chosen = known if kind is None else {kind: known[kind]}
    if show.form(json) is show.Form.JSON:
        show.as_json([_kind(name, shape) for name, shape in chosen.items()])
        return
    for name, shape in chosen.items() if show.watched() else ():
        print(f"{name}: {_purpose(shape)}")
    settings = ((name, setting) for name, shape in chosen.items() for setting in described(shape))
    show.rows(
        ("kind", "setting", "takes", "default", "what it is"),
        ((name, one.name, _plain(one.takes), _plain(one.default), one.what) for name, one in settings),
    )


@app.command("show", epilog="Example: orch policies show")
def show_(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The files of a version that was live once, as they were.")
    ] = None,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """Show the chain of the configuration, outermost first, and whether it is what the running proxy has live."""
    if version is not None:
        _show_kept(_kept(config, version), show.form(json))
        return
    found = loaded(config)
    live = live_policy(stored(config).database, found.config.server.listen)
    if show.form(json) is show.Form.JSON:
        chain = [policy.model_dump(mode="json") for policy in found.policies]
        show.as_json(
            {"version": found.policy_version, "price_version": found.price_version, "live": live, "chain": chain}
        )
        return
    show.rows(("", "kind", "settings"), ((at, *_link(one, found)) for at, one in enumerate(found.policies, 1)))
    print(f"policy version {found.policy_version}, price version {found.price_version or 'none'}")
    for hint in found.hints:
        print(f"hint: {hint}")
    if live is not None:
        same = live == found.policy_version
        print(
            f"live in the running proxy: {'this version' if same else f'{live}; `orch policies show {live}` shows it'}"
        )


def _kind(name: str, shape: type[PolicyBase]) -> dict[str, Any]:
    return {"kind": name, "what": _purpose(shape), "settings": [asdict(setting) for setting in described(shape)]}


def _purpose(shape: type[PolicyBase]) -> str:
    return (shape.__doc__ or "").partition("\n")[0]


def _plain(text: str) -> str:
    """Without the marks of code in documents."""
    return text.replace("`", "")


def _link(policy: PolicyBase, found: Loaded) -> tuple[str, str]:
    """The kind and what was written of it; a price list by its version."""
    written = policy.model_dump(mode="json", exclude_unset=True, exclude={"kind"})
    if "prices" in written:
        written["prices"] = f"version {found.price_version}, {len(written['prices']['actions'])} actions"
    return policy.kind, ", ".join(f"{name}: {_shown(value)}" for name, value in written.items()) or "as they are"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json_texts.dumps(value, ensure_ascii=False)


def _kept(config: Any, version: str) -> Mapping[str, str]:
    async def read(reader: SqliteReader) -> Mapping[str, str] | None:
        rows = await reader.listed(KEPT_FILES, {"version": version})
        return json_texts.loads(rows[0]["files"]) if rows else None

    files = with_reader(config, read)
    if files is None:
        raise NotFound(
            f"no policies of the version {version[:40]!r} were live here; calls name theirs: orch calls show ID"
        )
    return files


def _show_kept(files: Mapping[str, str], form: show.Form) -> None:
    if form is show.Form.JSON:
        show.as_json(files)
        return
    for name, text in files.items():
        print(f"# {name}\n{text}")
