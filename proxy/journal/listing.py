"""Listings: what an operator reads of the ledger and the records, page by page, and the port that gives it.

Pages are keysets, never offsets: ask for what comes ``before`` (or ``after``) the last row seen. Times are Unix milliseconds,
``since`` is included, ``until`` is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from proxy.errors import BadRequest
from proxy.journal.port import RefusalCount

PAGE_ROWS_MAX = 1000
"""Rows of one page."""

USAGE_ROWS_MAX = 50_000
"""Rows of one usage report."""

GROUPS = ("namespace", "user", "workspace", "action", "model", "provider", "day", "key")
"""What usage can be counted by. A user and a workspace are those of a namespace, so it is named beside them."""

OF_A_NAMESPACE = frozenset({"user", "workspace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """An account and its points."""

    namespace: str
    user: str
    plan: str
    balance: int
    held: int
    created_at: int

    @property
    def account(self) -> str:
        return f"{self.namespace}/{self.user}"

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """Points that were given, and what is left of them; the lowest priority is burnt first."""

    id: int
    account: str
    amount: int
    remaining: int
    kind: str
    priority: int
    reason: str | None
    source_ref: str | None
    created_at: int
    closed_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """One change of a balance: ``points`` is signed. ``call_id`` is None for a grant."""

    seq: int
    op_ref: str
    call_id: str | None
    account: str
    grant_id: int
    kind: str
    points: int
    balance_after: int
    at: int


CallState = Literal["open", "closed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are wanted; None: any. ``account`` is namespace/user."""

    account: str | None = None
    namespace: str | None = None
    key_id: str | None = None
    model: str | None = None
    action: str | None = None
    state: CallState | None = None
    how: str | None = None
    error: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What calls came to. ``key`` names the group: each thing counted by, and its value ("" where a call has none).

    ``failed`` are closed calls that were not answered, ``cost_unknown`` answered ones whose cost nobody knows (so that
    ``cost_nanousd`` is a lower bound). Refusals counted beyond the cap of those written one by one are not in ``refused``.
    """

    key: Mapping[str, str]
    calls: int
    answered: int
    failed: int
    refused: int
    points_charged: int
    points_refunded: int
    input_tokens: int
    output_tokens: int
    cost_nanousd: int
    cost_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much there is, cheap enough to ask every few seconds. ``calls`` is an upper bound while old ones are pruned."""

    open_calls: int
    oldest_open_at: int | None
    points_held: int
    accounts: int
    entries: int
    calls: int


class Listings(Protocol):
    """Reads of a ledger. Every method may raise JournalUnavailable, and BadRequest for what would take too long."""

    async def users(
        self, namespace: str | None = None, *, after: str | None = None, limit: int = 50
    ) -> Sequence[UserRow]:
        """By account id (``namespace/user``), ascending; ``after`` is the last account id seen."""
        ...

    async def grants(self, account: str) -> Sequence[GrantRow]:
        """All grants of an account, oldest first, used up ones too."""
        ...

    async def entries(self, account: str, *, before: int | None = None, limit: int = 50) -> Sequence[EntryRow]:
        """An account's history, newest first; ``before`` is the last ``seq`` seen."""
        ...

    async def calls(
        self, wanted: CallFilter, *, before: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Mapping[str, Any]]:
        """Rows of calls as ``Store.call`` gives them, newest first by id; ``before`` is the last id seen.

        With ``after`` they come in the order they were written, beginning behind that call: what follows live misses none.
        """
        ...

    async def usage(
        self,
        by: tuple[str, ...],
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        namespace: str | None = None,
    ) -> Sequence[UsageRow]:
        """Calls counted by some of ``GROUPS``, in the order of their keys; no group: one row for all, if there is any call."""
        ...

    async def refusals(
        self, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 50
    ) -> Sequence[RefusalCount]:
        """Counts of refusals that have no row of their own, the newest minute first; page by ``until_ms``."""
        ...

    async def totals(self) -> Totals: ...


def check_page(limit: int) -> int:
    """The limit itself. Raises BadRequest for what no page has."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise BadRequest(f"limit is {limit}; a page has 1 to {PAGE_ROWS_MAX} rows", param="limit")
    return limit


def grouping(by: Sequence[str]) -> tuple[str, ...]:
    """The groups asked for, each once, the namespace before what belongs to it. Raises BadRequest."""
    for name in by:
        if name not in GROUPS:
            raise BadRequest(f"usage cannot be counted by {name!r}; by {', '.join(GROUPS)} it can", param="by")
    wanted = dict.fromkeys(by)
    if OF_A_NAMESPACE.intersection(wanted):
        return tuple(dict.fromkeys(("namespace", *wanted)))
    return tuple(wanted)


def too_many_groups() -> BadRequest:
    return BadRequest(f"usage by this has more than {USAGE_ROWS_MAX} rows; ask for a shorter time or a namespace")
