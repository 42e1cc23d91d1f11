"""What ``/admin`` is asked. Times are Unix milliseconds; ``since`` is included, ``until`` is not."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from proxy.journal.admin import POINTS_MAX
from proxy.journal.listing import GROUPS, CallState
from proxy.journal.operations import Operation
from proxy.keys import DEFAULT_NAMESPACE, NAME_CHARS_MAX, Namespace, User

PAGE_MAX = 500
"""Rows of one page."""

TIME_MAX = 2**53 - 1
SEQ_MAX = 2**63 - 1


def _whole(given: object) -> object:
    """A number of a query, written as numbers are: pydantic would take ``1_0`` and `` 10`` too."""
    return int(given) if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,19}", given, re.ASCII) else given


Limit = Annotated[int, Field(ge=1, le=PAGE_MAX, strict=True), BeforeValidator(_whole)]
Time = Annotated[int, Field(ge=0, le=TIME_MAX, strict=True), BeforeValidator(_whole)]
Seq = Annotated[int, Field(ge=0, le=SEQ_MAX, strict=True), BeforeValidator(_whole)]
Cursor = Annotated[str, Field(min_length=1, max_length=2 * NAME_CHARS_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
Group = Literal["namespace", "user", "workspace", "action", "model", "provider", "day", "key"]


class Nothing(Operation):
    """Nothing is asked but the thing itself."""


class ListUsers(Operation):
    namespace: Namespace | None = Field(None, description="Only users of this application.")
    after: Cursor | None = Field(None, description="The `next` of the page before.")
    limit: Limit = 50


class OpenUser(Operation):
    """An account to be opened; asked again with the same opening, it is left as it is."""

    user: User
    namespace: Namespace = DEFAULT_NAMESPACE
    plan: Name | None = Field(None, description="A plan of energy.yaml. Default: its default plan.")
    points: int | None = Field(
        None, strict=True, ge=1, le=POINTS_MAX, description="Points to start with. Default: what the plan grants."
    )


class OneUser(Operation):
    user: User
    namespace: Namespace = DEFAULT_NAMESPACE


class ReadHistory(Operation):
    user: User
    namespace: Namespace = DEFAULT_NAMESPACE
    before: Seq | None = Field(None, description="The `next` of the page before.")
    limit: Limit = 50


class ListCalls(Operation):
    """Which calls, newest first; with `after` those written later than that call, in the order they were written."""

    user: User | None = None
    namespace: Namespace | None = Field(None, description="Only calls of this application; with `user`: default `app`.")
    key: Name | None = Field(None, description="Only calls with the key of this id.")
    model: Name | None = None
    action: Name | None = None
    state: CallState | None = None
    how: Name | None = Field(None, description="How it ended, such as `answered`.")
    error: Name | None = Field(None, description="Only calls that ended with this code.")
    since: Time | None = None
    until: Time | None = None
    before: Cursor | None = Field(None, description="The `next` of the page before.")
    after: Cursor | None = Field(
        None, description="The id of the last call seen, to follow what comes. Not with `before`."
    )
    limit: Limit = 50


class OneCall(Operation):
    id: Cursor


class ReportUsage(Operation):
    by: tuple[Group, ...] = Field(
        (), max_length=len(GROUPS), description="What to count by; more than one may be named."
    )
    namespace: Namespace | None = None
    since: Time | None = None
    until: Time | None = None
