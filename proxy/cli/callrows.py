"""Calls as commands show them: which are wanted, a row of each, one in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from proxy.call import Account, How
from proxy.cli import show
from proxy.errors import BadRequest
from proxy.journal.listing import CallFilter
from proxy.keys import DEFAULT_NAMESPACE, check_namespace, check_user
from proxy.policy.naming import did_you_mean

Row = Mapping[str, Any]
"""The columns of ``calls``, as stored."""

UserOption = Annotated[str | None, typer.Option("--user", help="Only this user's.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="Only this application's; with --user, whose user is meant.")
]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="ID", help="Only those made with this key.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only those this model answered, or was held for.")]
ActionOption = Annotated[str | None, typer.Option("--action", help="Only those for this action.")]
OutcomeOption = Annotated[
    str | None,
    typer.Option(
        "--outcome", metavar="HOW", help="Only open or refused ones, or those that ended so: answered, failed …"
    ),
]
ErrorOption = Annotated[str | None, typer.Option("--error", metavar="CODE", help="Only those with this error.")]

STATES = ("open", "refused", "closed")
COLUMNS = ("at", "id", "user", "model", "action", "outcome", "error", "points", "tokens", "usd", "ms")


def whose(user: str | None, namespace: str | None) -> CallFilter:
    """The calls of a user, of an application, or all. Raises BadRequest."""
    within = None if namespace is None else check_namespace(namespace)
    if user is None:
        return CallFilter(namespace=within)
    return CallFilter(account=Account(within or DEFAULT_NAMESPACE, check_user(user)).id)


def outcome(text: str | None) -> dict[str, Any]:
    """The filter of how calls are or ended. Raises BadRequest for a word that is none of them."""
    if text is None:
        return {}
    if text in STATES:
        return {"state": text}
    known = [*STATES, *(how.value for how in How)]
    if text not in known:
        hint = did_you_mean(text, known) or f": use one of {', '.join(known)}"
        raise BadRequest(f"no call ends as {text[:40]!r}{hint}", param="--outcome")
    return {"how": text}


def ending(text: str | None) -> dict[str, Any]:
    """The same of calls that have ended. Raises BadRequest."""
    if text == "open":
        raise BadRequest("open calls have not ended: `orch calls list --outcome open` lists them", param="--outcome")
    return outcome(text)


def keeps(wanted: CallFilter, row: Row) -> bool:
    """Whether a call that has ended is wanted, by what is not known before its end."""
    ended = {"model": wanted.model, "state": wanted.state, "how": wanted.how, "error": wanted.error}
    return all(value is None or row[name] == value for name, value in ended.items())


def listed(row: Row) -> tuple[object, ...]:
    """The cells of COLUMNS."""
    model = row["model"] or row["requested_model"]
    if row["downgraded_from"]:
        model = f"{model} (for {row['downgraded_from']})"
    tokens = None if row["input_tokens"] is None else f"{row['input_tokens']}+{row['output_tokens'] or 0}"
    named = (show.day(row["created_at"]), row["id"], row["account"], model, row["action"])
    spent = (row["points_charged"] - row["points_refunded"], tokens, show.usd(row["cost_nanousd"]), row["duration_ms"])
    return (*named, row["how"] or row["state"], row["error"], *spent)


def whole(row: Row) -> dict[str, Any]:
    """Everything that is recorded of a call; what is stored as a JSON text is read."""
    texts = {name: json.loads(row[name]) for name in ("attempts", "finish_reasons") if row[name]}
    flags = {name: bool(row[name]) for name in ("stream", "usage_estimated")}
    return {**row, **texts, **flags}
