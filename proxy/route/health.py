"""Health: which deployments are worth asking. One breaker per deployment; it lives longer than any configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

from proxy.call import CANCELLED, Attempt, Cut, Deployment
from proxy.errors import CONTEXT_EXCEEDED, UpstreamRejected

FAILURES_MAX = 5  # in a row open the breaker
COOLDOWN_S = 1.0  # of the first opening; it doubles with each failed probe
COOLDOWN_S_MAX = 30.0
LIMITED_S_MAX = 60.0  # a provider's Retry-After is believed up to here
PROBE_S_MAX = 120.0  # a probe nobody heard of again no longer keeps others out
ENTRIES_MAX = 10_000

# The deployment did its part: it judged the request.
_ANSWERED = frozenset({None, UpstreamRejected.reason, CONTEXT_EXCEEDED})
# We cut the attempt, or its client did: nothing is known of the deployment.
_CUT = frozenset({CANCELLED, *(cut.value for cut in Cut)})


class State(StrEnum):
    """What a deployment's breaker is in."""

    CLOSED = "closed"
    LIMITED = "limited"  # it asked to be left alone for a while
    OPEN = "open"  # it failed too often in a row; a probe goes through now and then


class _Meaning(Enum):
    """What an attempt says of its deployment."""

    BEGINS = "begins"
    WELL = "well"
    NOTHING = "nothing"
    LIMITED = "limited"
    FAILED = "failed"


@dataclass(slots=True)
class _Breaker:
    """Times are seconds of the clock; 0: never."""

    failures: int = 0
    cooldown_s: float = 0.0
    opened_at: float = 0.0
    limited_until: float = 0.0
    probed_until: float = 0.0


class Health:
    """Breakers by deployment id. A deployment without one is healthy, so only trouble takes memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._breakers: dict[str, _Breaker] = {}

    def healthy(self, deployment: Deployment) -> bool:
        """Whether to ask it: its breaker is closed, or open long enough for one probe."""
        breaker = self._breakers.get(deployment.id)
        if breaker is None:
            return True
        now = self._clock()
        if now < breaker.limited_until:
            return False
        if breaker.failures < FAILURES_MAX:
            return True
        return now >= breaker.opened_at + breaker.cooldown_s and now >= breaker.probed_until

    def state(self, deployment_id: str) -> State:
        """Of the breaker, as an operator is told."""
        breaker = self._breakers.get(deployment_id)
        if breaker is not None and breaker.failures >= FAILURES_MAX:
            return State.OPEN
        limited = breaker is not None and self._clock() < breaker.limited_until
        return State.LIMITED if limited else State.CLOSED

    def record(self, attempt: Attempt) -> None:
        """Learn from an attempt that begins or has ended."""
        breaker = self._breakers.get(attempt.deployment.id)
        match _meaning(attempt):
            case _Meaning.BEGINS:
                self._begin(breaker)
            case _Meaning.WELL:
                self._breakers.pop(attempt.deployment.id, None)
            case _Meaning.NOTHING if breaker is not None:
                breaker.probed_until = 0.0
            case _Meaning.LIMITED:
                self._limit(attempt)
            case _Meaning.FAILED:
                self._fail(attempt)

    def _begin(self, breaker: _Breaker | None) -> None:
        if breaker is not None and breaker.failures >= FAILURES_MAX:
            breaker.probed_until = self._clock() + PROBE_S_MAX

    def _limit(self, attempt: Attempt) -> None:
        """It is well but wants to be left alone for so long; without a Retry-After nothing is known."""
        wait_s = min(attempt.retry_after_s or 0.0, LIMITED_S_MAX)
        if wait_s == 0 and attempt.deployment.id not in self._breakers:
            return
        breaker = self._entry(attempt.deployment.id)
        breaker.probed_until = 0.0
        breaker.limited_until = max(breaker.limited_until, self._clock() + wait_s)

    def _fail(self, attempt: Attempt) -> None:
        breaker = self._entry(attempt.deployment.id)
        breaker.probed_until = 0.0
        if breaker.failures < FAILURES_MAX:
            breaker.failures += 1
            if breaker.failures == FAILURES_MAX:
                self._open(breaker, COOLDOWN_S)
        elif attempt.started_at >= breaker.opened_at + breaker.cooldown_s:
            # A probe failed. Attempts from before it opened are old news: a hundred must not double it a hundred times.
            self._open(breaker, min(2 * breaker.cooldown_s, COOLDOWN_S_MAX))

    def _open(self, breaker: _Breaker, cooldown_s: float) -> None:
        breaker.opened_at = self._clock()
        breaker.cooldown_s = cooldown_s

    def _entry(self, deployment_id: str) -> _Breaker:
        """The breaker, made if need be, the youngest of all; beyond ENTRIES_MAX the oldest is forgotten."""
        breaker = self._breakers.pop(deployment_id, None) or _Breaker()
        self._breakers[deployment_id] = breaker
        if len(self._breakers) > ENTRIES_MAX:
            del self._breakers[next(iter(self._breakers))]
        return breaker


def _meaning(attempt: Attempt) -> _Meaning:
    if attempt.ended_at is None:
        return _Meaning.BEGINS
    if attempt.error in _ANSWERED:
        return _Meaning.WELL
    if attempt.error in _CUT:
        return _Meaning.NOTHING
    # An exhausted quota comes as 429 too, but no wait mends it.
    if attempt.status == 429 and attempt.repeatable:
        return _Meaning.LIMITED
    return _Meaning.FAILED
