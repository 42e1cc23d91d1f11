"""The operations of ``/admin``: what each is asked, what it answers, who does it. ``/openapi.json`` is made from this table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from proxy.edge.admin import answers, questions
from proxy.edge.admin.desk import Desk
from proxy.errors import Conflict, NotFound, OrchError
from proxy.journal.admin import GivePoints, ListKeys, RevokeKey
from proxy.journal.operations import ErasedUser, EraseUser, Reloaded, RotateKey
from proxy.keys import NewKey

OK, CREATED = 200, 201


def _ok(answer: Any) -> int:
    return OK


def _created(answer: Any) -> int:
    return CREATED


def _if_created(answer: answers.UserOpened) -> int:
    return CREATED if answer.created else OK


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``question`` is the body of a POST, the query of a GET; ``errors`` are those only some operations have."""

    summary: str
    question: type[BaseModel]
    answer: type[BaseModel]
    run: Callable[[Desk, Any], Awaitable[BaseModel]]
    status: Callable[[Any], int] = _ok
    statuses: Sequence[int] = (OK,)
    errors: Sequence[type[OrchError]] = ()


OPERATIONS: Mapping[str, Operation] = {
    "admin_users": Operation("Users and their points", questions.ListUsers, answers.UserPage, Desk.users),
    "admin_open_user": Operation(
        "Open an account",
        questions.OpenUser,
        answers.UserOpened,
        Desk.open_user,
        _if_created,
        (OK, CREATED),
        (Conflict,),
    ),
    "admin_user": Operation(
        "One user and its grants", questions.OneUser, answers.UserDetail, Desk.show_user, errors=(NotFound,)
    ),
    "admin_grant": Operation(
        "Give a user points; the same source_ref counts once",
        GivePoints,
        answers.UserShown,
        Desk.grant,
        errors=(NotFound, Conflict),
    ),
    "admin_history": Operation(
        "A user's entries, newest first", questions.ReadHistory, answers.EntryPage, Desk.history, errors=(NotFound,)
    ),
    "admin_erase_user": Operation(
        "Take a user's name out of everything; the books stay",
        EraseUser,
        ErasedUser,
        Desk.erase_user,
        errors=(Conflict,),
    ),
    "admin_keys": Operation("Keys, revoked ones too", ListKeys, answers.KeyListing, Desk.keys),
    "admin_make_key": Operation("Make a key, shown once", NewKey, answers.KeyMade, Desk.make_key, _created, (CREATED,)),
    "admin_revoke_key": Operation("Revoke a key", RevokeKey, answers.KeyGone, Desk.revoke_key, errors=(NotFound,)),
    "admin_rotate_key": Operation(
        "Put a fresh key in one's place, at once or with a grace",
        RotateKey,
        answers.KeyMade,
        Desk.rotate_key,
        _created,
        (CREATED,),
        (NotFound, Conflict),
    ),
    "admin_calls": Operation("Calls, newest first", questions.ListCalls, answers.CallPage, Desk.calls),
    "admin_call": Operation("One call", questions.OneCall, answers.CallRecord, Desk.show_call, errors=(NotFound,)),
    "admin_usage": Operation("What calls came to", questions.ReportUsage, answers.UsageReport, Desk.usage),
    "admin_reload": Operation("Read the configuration anew", questions.Nothing, Reloaded, Desk.reload),
    "admin_health": Operation("How the proxy is", questions.Nothing, answers.Health, Desk.health),
}
"""By the name of their rule in ``access.py``."""
