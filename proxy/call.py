"""The nouns of a call: frozen values that the chain hands on. A change is a copy (``call.on("gpt-4o-mini")``), never a mutation.

Only three things on a call change while it runs, each with one owner: ``reply`` (what the client has been given),
``hold`` (the points held for it) and ``trace`` (what was tried). All three are per call and never shared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, Protocol, runtime_checkable

Body = Mapping[str, Any]


class Role(StrEnum):
    USER = "user"
    SERVICE = "service"
    ADMIN = "admin"


class Operation(StrEnum):
    """What is asked for; the values are OpenTelemetry's ``gen_ai.operation.name``."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    UNKNOWN = "unknown"  # of a refused request: a path or method that is not served


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who holds the key. ``None`` in operations, models or actions means: not narrowed.

    A user key whose ``actions`` is None may use the default action only (the caller names the action, so the price).
    ``within_*`` is what the chain's auth policy leaves of the key's rights; both must allow.
    """

    key_id: str
    role: Role
    namespace: str
    user: str | None = None
    workspace: str | None = None
    operations: frozenset[str] | None = None
    models: frozenset[str] | None = None
    actions: frozenset[str] | None = None
    within_models: frozenset[str] | None = None
    within_actions: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. Two applications' user "42" live in two namespaces and are two accounts."""

    namespace: str
    user: str

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.user}"  # a namespace has no slash, so the first one splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; ``estimated`` when it sent no count and we did."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One place where a model can be had: an upstream and the name it uses there."""

    upstream: str
    provider: str
    model: str

    @property
    def id(self) -> str:
        return f"{self.upstream}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to an upstream.

    Times are monotonic seconds; ``error`` is the reason code, None while it runs or when it answered.
    """

    model: str
    deployment: Deployment
    started_at: float
    ended_at: float | None = None
    first_content_at: float | None = None
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    repeatable: bool = True


CANCELLED = "cancelled"
"""The ``error`` of an attempt that we cut while its client was still there: for its silence, or at our shutdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model that may answer and its price in points."""

    model: str
    points: int


NO_PLAN = "unpriced"
"""Plan of an account that only calls without a price have opened; its first priced call gives it one, and the grant."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What an account that does not exist yet is opened with, on its first call: its plan and the plan's starting grant."""

    plan: str
    points: int


class How(StrEnum):
    """How a call ended: the rows of the charge table."""

    ANSWERED = "answered"
    FAILED = "failed"  # before content
    BROKEN = "broken"  # the upstream ended or fell silent after content, without completing
    OVERDUE = "overdue"  # the deadline, ours or the client's, cut it after content
    STALLED = "stalled"  # the client stopped reading after content
    LEFT_BEFORE = "left_before_content"
    LEFT_AFTER = "left_after_content"
    SHUTDOWN = "shutdown"  # we cut it after content
    NOT_RECORDED = "not_recorded"  # the store did not take the outcome in time: the tail was withheld
    UNKNOWN = "unknown"  # the process died


@dataclass(frozen=True, slots=True)
class Ending:
    """How the call ended and which model's content the client got (None: nobody's)."""

    how: How
    model: str | None


Charge = Callable[[Ending], int]
"""The one pure function that decides what a call costs, in points, from how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a handler returns: a complete answer has gone into ``call.reply``."""

    model: str
    deployment: Deployment
    usage: Usage
    cost_nanousd: int | None
    finish_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the journal committed when the call was closed: points charged, and points the payer has left to use."""

    charged: int
    remaining: int


@dataclass(slots=True)
class Trace:
    """What happened to one call so far; shared by all copies of it.

    The terminal handler writes the attempts, ``answering`` (the model whose content the client got first), ``outcome`` (as
    soon as the answer is complete) and ``partial`` (what was used by an answer that never completed); retry writes
    ``waited_s``; the journal writes ``recorded`` (a row exists), ``booked`` (the call as it stands in the books: its action,
    the model and points held for it), ``ending`` and ``error`` (how it ended, and its reason code), and ``receipt``.
    ``traceparent`` is the client's header of that name, as it came; ``said`` is what was answered,
    noted only where bodies are kept.
    """

    received_at: float
    traceparent: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    answering: str | None = None
    outcome: Outcome | None = None
    partial: Outcome | None = None
    waited_s: float = 0.0
    recorded: bool = False
    booked: Call | None = None
    ending: Ending | None = None
    error: str | None = None
    receipt: Receipt | None = None
    said: bytearray | None = None


class Part(Enum):
    """What a chunk of an answer means to those who pass it on."""

    BODY = "body"  # a whole answer that is not streamed
    PRELUDE = "prelude"  # before content: the role delta, comments
    CONTENT = "content"
    USAGE = "usage"  # the chunk with empty choices and the usage
    DONE = "done"  # data: [DONE]


CONTENT_PARTS = (Part.CONTENT, Part.BODY)
"""What makes a reply ``started``."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer as it goes on the wire: one whole SSE event with its blank line, or a whole JSON body."""

    raw: bytes
    part: Part


@dataclass(frozen=True, slots=True)
class Head:
    """Who is answering; goes out before the first content."""

    model: str
    deployment: Deployment
    downgraded_from: str | None


class Cut(Enum):
    """Why a running call was cancelled. It is set on the reply before the cancel; a cancel without it is our shutdown."""

    GONE = "gone"  # the client hung up
    DEADLINE = "deadline"
    STALLED = "stalled"  # the client no longer reads


@runtime_checkable
class Reply(Protocol):
    """Where the answer goes. Each layer has its own ``started``: true once that layer took content.

    From then on nothing may retry or switch the model, or two models' answers would be mixed.
    """

    @property
    def started(self) -> bool: ...

    @property
    def cut(self) -> Cut | None: ...

    async def open(self, head: Head) -> None: ...

    async def send(self, chunk: Chunk) -> None: ...


class Hold(Protocol):
    """Points held for one call."""

    @property
    def points(self) -> int: ...

    async def raise_for(self, model: str) -> bool:
        """Make the hold cover ``model``'s price. False, with nothing changed, when the balance does not allow it."""
        ...


class Journal(Protocol):
    """Ledger and records, as the chain sees them."""

    def reserving(
        self, call: Call, offers: Sequence[Offer], *, opening: Opening, charge: Charge
    ) -> AbstractAsyncContextManager[Call]:
        """Record the call and hold the first offer the balance can pay; on exit close it with what ``charge`` says.

        Yields the call on the offer's model, holding its points. Raises EnergyExhausted (recorded) when no offer can be
        paid, JournalUnavailable (nothing held) when the store does not answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a request needs of the model that answers it; ``input_tokens`` is an estimate."""

    vision: bool = False
    audio: bool = False
    tools: bool = False
    schema: bool = False
    input_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model clients can name. Prices are pico-dollars a token (1e-12 USD); None: unknown, never taken for 0."""

    name: str
    deployments: tuple[Deployment, ...]
    class_: str | None = None
    operation: Operation = Operation.CHAT
    input_picousd: int | None = None
    output_picousd: int | None = None
    cached_input_picousd: int | None = None
    input_tokens_max: int | None = None
    output_tokens_max: int | None = None
    lacks: frozenset[str] = frozenset()  # of: vision, audio, tools, schema (known to be missing)


class Routes(Protocol):
    """Models, their deployments, the health of each, and the budget of repeats.

    One table per configuration; health is kept across.
    """

    @property
    def models(self) -> Mapping[str, Model]: ...

    def fits(self, model: str, needs: Needs) -> bool:
        """False when the model is known to lack what the request needs."""
        ...

    def untried(self, model: str, attempts: Sequence[Attempt]) -> tuple[Deployment, ...]:
        """The model's healthy deployments that this call has not tried yet, best first."""
        ...

    def report(self, attempt: Attempt) -> None:
        """Tell that an attempt begins (``ended_at`` None) or how it ended; the health of its deployment follows from it."""
        ...

    def may_repeat(self) -> bool:
        """Take one repeat from the budget (20 % of calls, at least 1/s); False: none left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The world outside the chain. A replay swaps these."""

    journal: Journal
    routes: Routes
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    policy_version: str
    price_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way. ``body`` is what the client sent without our own fields; nobody writes to it.

    ``deadline_at`` is monotonic seconds. ``candidates`` are the models that may answer, in order; retry walks them.
    """

    id: str
    principal: Principal
    payer: Account
    operation: Operation
    action: str | None
    model: str
    requested_model: str
    body: Body
    deadline_at: float
    reply: Reply
    ports: Ports
    trace: Trace
    candidates: tuple[str, ...] = ()
    downgraded_from: str | None = None
    hold: Hold | None = None
    stream: bool = False
    usage_wanted: bool = False
    auto_downgrade: bool = True
    workspace: str | None = None
    prospect: str | None = None

    def on(self, model: str) -> Call:
        """This call asked of another model."""
        return replace(self, model=model)

    def replying_to(self, reply: Reply) -> Call:
        """This call with its answer going through ``reply``."""
        return replace(self, reply=reply)


Handler = Callable[[Call], Awaitable[Outcome]]
"""Answers a call: sends the answer into ``call.reply`` and returns once it is complete, or raises."""
