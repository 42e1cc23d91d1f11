"""Steps: which model retry asks next, and after what wait. Pure: a table test holds every rule.

In this order:

1. move: the first candidate with a healthy deployment that this call has not tried, at once. Later candidates that have
   not been asked keep a call each, so a dead model never starves its fallback;
2. repeat: of the candidates whose last error may pass, the one that can be asked soonest (the longest ago asked, of equals), up to
   ``attempts_max`` calls and before the deadline. A Retry-After longer than the deadline allows rules a candidate out;
3. last resort: a candidate never asked because all its deployments are out of order. Breakers choose, they do not refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

CALLS_MAX = 8  # upstream calls for one call, whatever is configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a candidate's last call came to. ``again_at`` is when the provider lets us ask again, in monotonic seconds."""

    repeatable: bool
    limited: bool = False
    again_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that may answer. ``untried``: its healthy deployments that this call has not tried; ``asked_at``: the
    number of the call that asked it last (0: none did)."""

    model: str
    untried: int
    asked_at: int = 0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Where a call stands. Times are monotonic seconds."""

    candidates: tuple[Candidate, ...]
    calls: int
    repeats: int
    now: float
    deadline_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often and after what waits to repeat; seconds. ``limited_factor``: waits after a rate limit are so much longer."""

    attempts_max: int
    base_s: float
    max_s: float
    limited_factor: float

    def wait_s(self, failure: Failure, board: Board, luck: float) -> float:
        """Exponential with full jitter (``luck`` in 0..1), never before the provider lets us."""
        base_s = self.base_s * self.limited_factor if failure.limited else self.base_s
        wait_s = luck * min(base_s * 2.0**board.repeats, self.max_s)
        return wait_s if failure.again_at is None else max(wait_s, failure.again_at - board.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Ask this model now: it has a deployment worth trying."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Ask this model after ``wait_s``, if the budget of repeats allows."""

    model: str
    wait_s: float


Step = Move | Repeat


def next_step(board: Board, backoff: Backoff, luck: float) -> Step | None:
    """What to do next; None: nothing is left to try."""
    if board.calls >= CALLS_MAX or board.now >= board.deadline_at:
        return None
    return _move(board) or _repeat(board, backoff, luck) or _last_resort(board)


def _move(board: Board) -> Move | None:
    for place, candidate in enumerate(board.candidates, start=1):
        kept = sum(later.untried > 0 and not later.asked_at for later in board.candidates[place:])
        if candidate.untried and board.calls + kept < CALLS_MAX:
            return Move(model=candidate.model)
    return None


def _repeat(board: Board, backoff: Backoff, luck: float) -> Repeat | None:
    if board.calls >= backoff.attempts_max:
        return None
    waits = [
        (backoff.wait_s(candidate.failure, board, luck), candidate.asked_at, candidate.model)
        for candidate in board.candidates
        if candidate.failure is not None and candidate.failure.repeatable
    ]
    in_time = [wait for wait in waits if board.now + wait[0] < board.deadline_at]
    if not in_time:
        return None
    wait_s, _, model = min(in_time)
    return Repeat(model=model, wait_s=wait_s)


def _last_resort(board: Board) -> Repeat | None:
    untouched = (candidate.model for candidate in board.candidates if not candidate.asked_at)
    model = next(untouched, None)
    return None if model is None else Repeat(model=model, wait_s=0.0)
