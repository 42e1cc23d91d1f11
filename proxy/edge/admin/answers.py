"""What ``/admin`` answers. Times are Unix milliseconds, points are whole numbers, money is an exact decimal."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.edge.shown import CallShown, Shown
from proxy.journal.admin import KeyFacts


class UserShown(Shown):
    object: Literal["user"] = "user"
    namespace: str
    user: str
    plan: str
    balance: int
    held: int = Field(description="Points held for running calls.")
    available: int = Field(description="balance - held: what can be spent.")


class UserOpened(UserShown):
    created: bool = Field(description="False: it existed already, with the same opening.")


class GrantShown(Shown):
    id: int
    amount: int
    remaining: int
    kind: str
    priority: int = Field(description="The lowest is spent first.")
    reason: str | None
    source_ref: str | None
    created_at: int


class UserDetail(UserShown):
    grants: tuple[GrantShown, ...] = Field(description="Those that are not used up, oldest first.")


class UserListed(UserShown):
    created_at: int


class EntryShown(Shown):
    seq: int
    kind: str = Field(description="grant, settle (a call's charge) or refund.")
    points: int = Field(description="Signed: what the balance changed by.")
    balance_after: int
    call_id: str | None
    grant_id: int
    at: int


class UserPage(Shown):
    object: Literal["list"] = "list"
    data: tuple[UserListed, ...]
    next: str | None = Field(description="Send it as `after` for the next page; null: this is the last.")


class EntryPage(Shown):
    object: Literal["list"] = "list"
    data: tuple[EntryShown, ...]
    next: int | None = Field(description="Send it as `before` for the next page; null: this is the last.")


class KeyShown(KeyFacts):
    object: Literal["key"] = "key"


class KeyMade(KeyShown):
    key: str = Field(description="The whole key. It is not kept, so it is told this once.")


class KeyListing(Shown):
    object: Literal["list"] = "list"
    data: tuple[KeyShown, ...]


class KeyGone(Shown):
    id: str
    revoked: Literal[True] = True


class CallRecord(CallShown):
    """A call as the operator sees it: who made it too."""

    namespace: str
    user_id: str
    workspace: str | None
    prospect: str | None
    key_id: str
    stream: bool
    error_message: str | None
    points_required: int | None = Field(description="The first offer's price; of a refused call the cheapest offer's.")
    points_available: int | None = Field(description="What the payer could spend at that moment.")


class CallPage(Shown):
    object: Literal["list"] = "list"
    data: tuple[CallRecord, ...]
    next: str | None = Field(
        description="Send it as `before` for the next page, or as `after` where you sent `after`; null: there is no more."
    )


class UsageShown(Shown):
    """What the calls of one group came to."""

    key: dict[str, str] = Field(description="What the group is: each thing counted by, and its value.")
    calls: int
    answered: int
    failed: int
    refused: int
    points_charged: int
    points_refunded: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    cost_unknown: int = Field(
        description="Answered calls whose cost is not known; more than 0: cost_usd is a lower bound."
    )


class UsageReport(Shown):
    object: Literal["list"] = "list"
    data: tuple[UsageShown, ...]


class TotalsShown(Shown):
    """How much there is in the books."""

    open_calls: int
    oldest_open_at: int | None
    points_held: int
    accounts: int
    entries: int
    calls: int = Field(description="An upper bound while old calls are pruned.")


class Health(Shown):
    status: Literal["ok", "store unavailable"]
    version: str
    policy: str = Field(description="The version of the policies in force.")
    calls_running: int
    books: TotalsShown | None = Field(description="null: the store could not be read.")
