"""The journal's port: what a store promises, and the values that cross it.

Invariants, in prose (``verify`` looks for rows that break them):

- balance = sum of the account's entries = sum of ``remaining`` over its unclosed grants
- held = sum of ``points_held`` over the payer's open calls, and 0 <= held <= balance
- the settle entries of a call sum to minus its ``points_charged``, which is at most its ``points_held``
- refunds of a call are at most what it was charged
- a call is closed once; an open call has a living owner

The first part of every method runs synchronously: when it returns its future the operation stands in the writer's queue,
in the order of the calls. So a task that is cancelled while it waits has still said what it wanted, and what it queues
next comes behind it. No caller ever touches a driver.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from proxy.call import Opening, Role

CALL_COLUMNS = (
    *("id", "account", "namespace", "user_id", "workspace", "prospect", "key_id", "operation", "action"),
    *("requested_model", "model", "upstream", "provider", "upstream_model", "state", "how", "points_held"),
    *("points_if_unknown", "points_charged", "points_refunded", "points_required", "points_available", "owner"),
    *("policy_version", "price_version", "downgraded_from", "stream", "attempts", "finish_reasons", "input_tokens"),
    *("output_tokens", "cached_input_tokens", "usage_estimated", "cost_nanousd", "error", "error_message"),
    *("first_content_ms", "duration_ms", "created_at", "closed_at"),
)
"""The columns of a call's row, as ``Store.call`` and the listings give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known of a call when its row is written."""

    id: str
    account: str
    key_id: str
    operation: str
    action: str | None
    requested_model: str
    stream: bool
    workspace: str | None
    prospect: str | None
    policy_version: str
    price_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedOffer:
    """An offer and what it costs when nobody learns how the call ended (``points_if_unknown`` <= ``points``)."""

    model: str
    points: int
    points_if_unknown: int


class Noted(Enum):
    """What is left of a call that is refused: a row of its own, or one more in a count."""

    ROW = "row"
    COUNT = "count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Insert the started call and hold the first offer that the balance pays, decided inside the transaction.

    ``if_refused`` COUNT: a refusal writes nothing, whoever asked counts it.
    """

    facts: CallFacts
    offers: tuple[PricedOffer, ...]
    opening: Opening
    if_refused: Noted = Noted.ROW


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Held: ``offer`` is the index of the offer taken, ``remaining`` the points still usable after the hold."""

    offer: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """No offer could be paid; the call's row is written as refused, unless ``if_refused`` says otherwise."""

    required: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The outcome of a call, and what it is charged: a settle of ``points_charged`` (0: the whole hold is voided)."""

    call_id: str
    how: str
    points_charged: int
    model: str | None = None
    upstream: str | None = None
    provider: str | None = None
    upstream_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    usage_estimated: bool = False
    cost_nanousd: int | None = None
    finish_reasons: tuple[str, ...] = ()
    attempts: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    first_content_ms: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Committed. ``charged`` is what was really taken: 0 when the call had already been closed by someone else."""

    charged: int
    remaining: int
    already: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A call that was refused before any reserve: one insert."""

    facts: CallFacts
    error: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An account's points: ``available`` = balance - held."""

    account: str
    plan: str
    balance: int
    held: int

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key as stored: its secret only as an HMAC. Times are Unix milliseconds; ``expires_at``: another took its place."""

    id: str
    mac: bytes
    role: Role
    namespace: str
    user: str | None
    workspace: str | None
    operations: tuple[str, ...] | None
    models: tuple[str, ...] | None
    actions: tuple[str, ...] | None
    name: str | None
    created_at: int
    revoked_at: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """Open an account with a starting grant."""

    account: str
    opening: Opening


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Give points to an account. The same ``source_ref`` twice is one grant; with another amount it is an error."""

    account: str
    points: int
    kind: str
    reason: str | None = None
    source_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A key ``key_id`` replaced by a fresh one of the same rights. The old one is good for ``grace_ms`` more; 0: it is revoked."""

    key_id: str
    fresh_id: str
    mac: bytes
    created_at: int
    grace_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """A user whose name is gone. ``pseudonym`` None: there was nothing of that name. ``keys``: those revoked with it."""

    pseudonym: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing:
    """One step through the calls of erased users. ``more``: it was not the last."""

    calls: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Rows that went in one step: of calls, and of counts of refusals."""

    calls: int
    counts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """Refusals that have no row of their own. ``minute`` is its first Unix ms, ``source`` a key's id, "" for no valid key."""

    minute: int
    source: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """What a call asked and was answered, as far as it is kept; ``…_cut``: it was longer."""

    call_id: str
    request: str | None
    response: str | None
    request_cut: bool = False
    response_cut: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that breaks an invariant, in words: which invariant, which row, the figures."""

    invariant: str
    row: str
    detail: str


class Store(Protocol):
    """A durable ledger. Every method may raise (through its future) JournalUnavailable; nothing is half done then."""

    def reserve(self, op: Reserve) -> Future[Reserved | Exhausted]: ...

    def raise_hold(self, call_id: str, *, points: int, points_if_unknown: int) -> Future[bool]:
        """Raise an open call's hold to ``points`` if the balance pays the difference; never lowers it."""
        ...

    def close(self, op: Close) -> Future[Closed]:
        """Settle or void, exactly once: a second close of the same call changes nothing and says so."""
        ...

    def withdraw(self, call_id: str) -> Future[None]:
        """Void the call, or give back what it was charged: its outcome could not be acknowledged in time."""
        ...

    def refuse(self, op: Refuse) -> Future[None]: ...

    def create_user(self, op: NewUser) -> Future[Balance]: ...

    def grant(self, op: Grant) -> Future[Balance]: ...

    def create_key(self, row: KeyRow) -> Future[None]: ...

    def revoke_key(self, key_id: str) -> Future[bool]:
        """True if the key exists (revoked now or before)."""
        ...

    def rotate_key(self, op: Rotation) -> Future[KeyRow]:
        """The fresh key's row. Raises NotFound, or BadRequest for a key that is revoked or being replaced already."""
        ...

    def erase_user(self, account: str, pseudonym: str) -> Future[Erased]:
        """Give the account another name, revoke its keys, note its calls for ``erase_calls``. The points stay as they are.

        Raises BadRequest while calls of it are open.
        """
        ...

    def erase_calls(self, calls_max: int) -> Future[Erasing]:
        """Take the names out of the next calls of erased users."""
        ...

    def scrub(self) -> Future[bool]:
        """Make sure that nothing erased is left in files beside the tables. False: somebody reads the old state still."""
        ...

    def prune(self, before_ms: int, *, rows_max: int) -> Future[Pruned]:
        """Delete calls closed, and counts made, before ``before_ms``, the oldest first; their entries stay."""
        ...

    def count_refusals(self, counts: Sequence[RefusalCount]) -> Future[None]:
        """Add to the counts."""
        ...

    def keep_bodies(self, op: Bodies) -> Future[None]:
        """Keep what a call said, once; nothing for a call without a row."""
        ...

    def keep_policy_version(self, version: str, files: Mapping[str, str]) -> Future[None]: ...

    async def balance(self, account: str) -> Balance | None: ...

    async def call(self, call_id: str) -> Mapping[str, Any] | None:
        """The row of one call: the columns of ``calls``."""
        ...

    async def key(self, key_id: str) -> KeyRow | None: ...

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]: ...

    async def bodies(self, call_id: str) -> Bodies | None: ...

    async def verify(self) -> Sequence[Violation]: ...

    async def healthy(self) -> bool:
        """True while the store takes writes (asked by ``/readyz``; bounded by a named time)."""
        ...

    async def aclose(self) -> None:
        """Commit what is queued, then let go."""
        ...
