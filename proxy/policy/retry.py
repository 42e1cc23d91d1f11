"""Retry: ask again while the client has seen nothing. The one owner of attempts: over deployments, then models, then repeats."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Operation, Outcome
from proxy.errors import (
    DeadlineExceeded,
    OrchError,
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.policy.base import PolicyBase
from proxy.policy.steps import CALLS_MAX, Backoff, Board, Candidate, Failure, Repeat, Step, next_step

# The caller's own mistake first, then what a wait or the operator can mend, then noise on the line.
_TELLING = (UpstreamRejected, UpstreamLimited, UpstreamRefused, UpstreamTimeout)


class Retry(PolicyBase):
    """Asks the call's candidates until one answers. Which next, and after what wait, is decided in ``steps.py``."""

    kind: Literal["retry"]
    attempts_max: int = Field(
        3,
        ge=1,
        le=CALLS_MAX,
        description="Calls to upstreams for one call, repeats included. Every deployment and fallback model that was not "
        "tried yet is tried beyond it, up to 8 calls in all.",
    )
    backoff_s: float = Field(
        1,
        ge=0,
        le=300,
        description="Longest wait before the first repeat, in seconds; it doubles with each. Full jitter.",
    )
    backoff_max_s: float = Field(30, gt=0, le=3_600, description="Longest wait before any repeat, in seconds.")
    rate_limit_factor: float = Field(
        4,
        ge=1,
        le=100,
        description="Waits after a rate limit are this much longer. A Retry-After is obeyed whenever the call's deadline "
        "allows.",
    )

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        walk = _Walk(call)
        backoff = self._backoff()
        while (step := next_step(walk.board(), backoff, call.ports.random())) is not None:
            if not await walk.affordable(step.model):
                continue
            if isinstance(step, Repeat) and not await _waited(call, step):
                break
            try:
                return await call_next(call.on(step.model))
            except UpstreamError as error:
                # The client has seen content: a second attempt would splice two answers.
                if call.reply.started or not error.movable:
                    raise
                walk.failed(step, error)
        raise walk.verdict()

    def _backoff(self) -> Backoff:
        return Backoff(
            attempts_max=self.attempts_max,
            base_s=self.backoff_s,
            max_s=self.backoff_max_s,
            limited_factor=self.rate_limit_factor,
        )


async def _waited(call: Call, step: Repeat) -> bool:
    """Wait as the step says; False: the budget has no repeat left."""
    if not call.ports.routes.may_repeat():
        return False
    if step.wait_s > 0:
        call.trace.waited_s += step.wait_s
        await call.ports.sleep(step.wait_s)
    return True


class _Walk:
    """One call's way through its candidates: who was asked, and what each said last."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._models = _candidates(call)
        self._errors: list[UpstreamError] = []
        self._asked_at: dict[str, int] = {}
        self._failures: dict[str, Failure] = {}
        self._repeats = 0
        self._covered = {call.model}

    def board(self) -> Board:
        return Board(
            candidates=tuple(self._candidate(model) for model in self._models),
            calls=len(self._errors),
            repeats=self._repeats,
            now=time.monotonic(),
            deadline_at=self._call.deadline_at,
        )

    async def affordable(self, model: str) -> bool:
        """Have the hold cover the model's price. False: the balance does not allow it, and the model is out of the walk."""
        if model in self._covered or self._call.hold is None:
            return True
        if await self._call.hold.raise_for(model):
            self._covered.add(model)
            return True
        self._drop(model)
        return False

    def failed(self, step: Step, error: UpstreamError) -> None:
        self._errors.append(error)
        self._asked_at[step.model] = len(self._errors)
        self._repeats += isinstance(step, Repeat)
        if isinstance(error, UpstreamRejected):
            self._drop(step.model)  # too large for this model wherever it runs; another one may take it
            return
        wish = error.retry_after_s
        self._failures[step.model] = Failure(
            repeatable=error.repeatable,
            limited=isinstance(error, UpstreamLimited),
            again_at=None if wish is None else time.monotonic() + wish,
        )

    def verdict(self) -> OrchError:
        """The error to answer with: the most telling one, the latest of equals."""
        if self._errors:
            return min(reversed(self._errors), key=_rank)
        if time.monotonic() >= self._call.deadline_at:
            return DeadlineExceeded("The call's deadline passed before an upstream could be asked.")
        return UpstreamUnavailable(
            f"No deployment of {self._call.model!r} is in order right now. Try again shortly.", retry_after_s=1.0
        )

    def _candidate(self, model: str) -> Candidate:
        return Candidate(
            model=model,
            untried=len(self._call.ports.routes.untried(model, self._call.trace.attempts)),
            asked_at=self._asked_at.get(model, 0),
            failure=self._failures.get(model),
        )

    def _drop(self, model: str) -> None:
        self._models = tuple(name for name in self._models if name != model)


def _candidates(call: Call) -> tuple[str, ...]:
    """Those that fallback handed over for this model, else the model alone. Embeddings never change model."""
    if call.operation is Operation.EMBEDDINGS or call.candidates[:1] != (call.model,):
        return (call.model,)
    return call.candidates


def _rank(error: UpstreamError) -> int:
    for rank, kind in enumerate(_TELLING):
        if isinstance(error, kind):
            return rank
    return len(_TELLING) + (error.status is None)
