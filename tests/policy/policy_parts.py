"""What tests of the policies share: a price list, and a handler at the chain's end that answers and fails as it is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proxy.call import Attempt, Call, Chunk, Handler, Model, Outcome, Part, Usage
from proxy.chain import Policy, chain
from proxy.errors import UpstreamError
from proxy.policy.prices import PriceList
from proxy.testing import fake_model

PRICES: dict[str, Any] = {
    "actions": {"ai_message": {"premium": 10, "economy": 3}, "ai_scan": {"premium": 15, "economy": 5}},
    "default_action": "ai_message",
    "classes": {"economy": ["*-mini", "claude-haiku"], "premium": []},
    "default_class": "premium",
    "downgrade": {"premium": ["gpt-4o-mini"]},
    "plans": {"free": {"grant": 100}},
    "default_plan": "free",
}


def price_list(**changes: Any) -> PriceList:
    return PriceList.model_validate({**PRICES, **changes})


def models(*names: str) -> dict[str, Model]:
    return {name: fake_model(name) for name in names}


class End:
    """The terminal handler: each call plays the next step, an error or None (answer); then it answers always."""

    def __init__(self, *steps: UpstreamError | None) -> None:
        self.steps = list(steps)
        self.calls: list[Call] = []

    @property
    def asked(self) -> list[str]:
        return [call.model for call in self.calls]

    async def __call__(self, call: Call) -> Outcome:
        self.calls.append(call)
        deployment = (call.ports.routes.untried(call.model, call.trace.attempts) or self._any(call))[0]
        now = time.monotonic()
        attempt = Attempt(model=call.model, deployment=deployment, started_at=now, ended_at=now)
        error = self.steps.pop(0) if self.steps else None
        if error is not None:
            call.trace.attempts.append(replace(attempt, error=error.reason, repeatable=error.repeatable))
            raise error
        call.trace.attempts.append(attempt)
        await call.reply.send(Chunk(b"{}", Part.BODY))
        usage = Usage(input_tokens=1, output_tokens=1)
        return Outcome(model=call.model, deployment=deployment, usage=usage, cost_nanousd=None)

    def _any(self, call: Call) -> tuple[Any, ...]:
        return call.ports.routes.models[call.model].deployments


def run(policies: Sequence[Policy], end: Handler) -> Handler:
    return chain(policies, end)
