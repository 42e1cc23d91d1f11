"""One line per call that has ended, where the operator asks for it (``log: {calls: on}``)."""

from __future__ import annotations

import logging
import time
from typing import Any

from proxy.call import Call, Trace
from proxy.errors import OrchError
from proxy.telemetry.logs import CALLS

log = logging.getLogger(CALLS)


class CallLog:
    """Implements ``Observer``. Says what became of a call, never who made it: its record does, under its id."""

    def ended(self, call: Call, error: Exception | None) -> None:
        booked, ending = call.trace.booked, call.trace.ending
        if booked is None or not log.isEnabledFor(logging.INFO):
            return
        how = "refused" if ending is None else ending.how.value
        model = booked.model if ending is None or ending.model is None else ending.model
        reason = error.reason if ending is None and isinstance(error, OrchError) else call.trace.error
        log.info("call %s", how, extra={"fields": _fields(booked, model, reason)})

    def refused(self, call: Call, error: OrchError) -> None:
        if log.isEnabledFor(logging.INFO):
            model = call.model if call.model in call.ports.routes.models else None
            log.info("call refused", extra={"fields": _fields(call, model, error.reason)})

    def turned_away(self, error: OrchError) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("request turned away", extra={"fields": {"reason": error.reason}})


def _fields(call: Call, model: str | None, reason: str | None) -> dict[str, Any]:
    trace = call.trace
    fields = {
        "call": call.id,
        "model": model,
        "action": call.action if trace.booked is not None else None,
        "downgraded_from": call.downgraded_from,
        "reason": reason,
        "attempts": len(trace.attempts),
        "duration_ms": round((time.monotonic() - trace.received_at) * 1000, 1),
        **_usage(trace),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _usage(trace: Trace) -> dict[str, int]:
    used = trace.outcome or trace.partial
    tokens = (
        {} if used is None else {"input_tokens": used.usage.input_tokens, "output_tokens": used.usage.output_tokens}
    )
    return tokens if trace.receipt is None else {**tokens, "charged": trace.receipt.charged}
