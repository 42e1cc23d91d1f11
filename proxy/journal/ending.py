"""How a call ended, read off its outcome, its exception and its reply; and what its record says then. Pure."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.call import Attempt, Call, Cut, Ending, How, Outcome
from proxy.errors import DeadlineExceeded, OrchError, UpstreamBroke
from proxy.journal.port import Close

_AFTER_CONTENT = {Cut.GONE: How.LEFT_AFTER, Cut.DEADLINE: How.OVERDUE, Cut.STALLED: How.STALLED}


def ending(call: Call, error: BaseException | None) -> Ending:
    """The row of the charge table. ``error`` is what came out of the chain; None: it returned, so the answer is complete."""
    how = _how(call, error)
    trace = call.trace
    if trace.outcome is not None:
        return Ending(how, trace.outcome.model)
    return Ending(how, call.model if error is None else trace.answering)


def _how(call: Call, error: BaseException | None) -> How:
    if call.trace.outcome is not None or error is None:
        return How.ANSWERED  # whoever hangs up next
    if isinstance(error, UpstreamBroke):
        return How.BROKEN
    cut = Cut.DEADLINE if isinstance(error, DeadlineExceeded) else call.reply.cut
    if cut is not None:
        return _AFTER_CONTENT[cut] if call.reply.started else before_content(cut)
    if isinstance(error, asyncio.CancelledError):
        return How.SHUTDOWN
    return How.BROKEN if call.reply.started else How.FAILED


def before_content(cut: Cut | None) -> How:
    """How a call ended that was cancelled before its client got anything. None: our shutdown."""
    if cut is None:
        return How.SHUTDOWN
    return How.LEFT_BEFORE if cut is Cut.GONE else How.FAILED


def why(call: Call, error: BaseException | None) -> str | None:
    """The reason code of a call that was not answered; None: it was."""
    if error is None or call.trace.outcome is not None:
        return None
    if isinstance(error, OrchError):
        return error.reason
    if call.reply.cut is not None:
        return call.reply.cut.value
    return "shutdown" if isinstance(error, asyncio.CancelledError) else "internal_error"


def closing(call: Call, ended: Ending, error: BaseException | None, *, points: int, now_s: float) -> Close:
    """The close that records this ending. ``now_s`` is monotonic seconds."""
    trace = call.trace
    used = trace.outcome or trace.partial
    first = _first_content(trace.attempts)
    return Close(
        call_id=call.id,
        how=ended.how.value,
        points_charged=points,
        model=ended.model,
        **_deployment(used, first if ended.model else None),
        **_used(used),
        attempts=tuple(_attempt(attempt, trace.received_at) for attempt in trace.attempts),
        error=why(call, error),
        first_content_ms=_ms(first.first_content_at, trace.received_at) if first else None,
        duration_ms=_ms(now_s, trace.received_at),
    )


def _first_content(attempts: list[Attempt]) -> Attempt | None:
    """The attempt whose content the client got: at most one has any, for from then on nobody retries."""
    return next((attempt for attempt in reversed(attempts) if attempt.first_content_at is not None), None)


def _deployment(used: Outcome | None, first: Attempt | None) -> dict[str, Any]:
    deployment = used.deployment if used else first.deployment if first else None
    if deployment is None:
        return {}
    return {
        "upstream": deployment.upstream,
        "provider": deployment.provider,
        "upstream_model": deployment.model,
    }


def _used(used: Outcome | None) -> dict[str, Any]:
    if used is None:
        return {}
    return {
        "input_tokens": used.usage.input_tokens,
        "output_tokens": used.usage.output_tokens,
        "cached_input_tokens": used.usage.cached_input_tokens,
        "usage_estimated": used.usage.estimated,
        "cost_nanousd": used.cost_nanousd,
        "finish_reasons": used.finish_reasons,
    }


def _attempt(attempt: Attempt, received_at: float) -> dict[str, Any]:
    """An attempt as the record keeps it; times are milliseconds from the call's arrival."""
    return {
        "model": attempt.model,
        "upstream": attempt.deployment.upstream,
        "provider": attempt.deployment.provider,
        "upstream_model": attempt.deployment.model,
        "status": attempt.status,
        "error": attempt.error,
        "started_ms": _ms(attempt.started_at, received_at),
        "first_content_ms": _ms(attempt.first_content_at, received_at),
        "ended_ms": _ms(attempt.ended_at, received_at),
    }


def _ms(at: float | None, since: float) -> int | None:
    return None if at is None else max(0, round((at - since) * 1000))
