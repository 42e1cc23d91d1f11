"""What the chain itself costs: microseconds of CPU a call, with no policies and with twelve that do nothing.

Run it with ``python -m bench.chain``. Twelve policies that do nothing must cost less than 10 microseconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from proxy.call import Call, Deployment, Handler, Outcome, Usage
from proxy.chain import chain
from proxy.policy.base import PolicyBase
from proxy.testing import fake_call

POLICIES = 12
CALLS = 20_000
ROUNDS = 5
PLACE = Deployment(upstream="fake", provider="fake", model="gpt-4o")
OUTCOME = Outcome(model="gpt-4o", deployment=PLACE, usage=Usage(input_tokens=1, output_tokens=1), cost_nanousd=None)


class Nothing(PolicyBase):
    """A policy that does nothing."""

    kind: Literal["nothing"] = "nothing"

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)


async def end(call: Call) -> Outcome:
    return OUTCOME


async def cpu_us(handler: Handler) -> float:
    """Microseconds of CPU a call takes, in the best of ROUNDS: the others were disturbed."""
    call = fake_call()
    best_s = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await handler(call)
        best_s = min(best_s, time.process_time() - began)
    return best_s / CALLS * 1_000_000


async def main() -> None:
    bare = await cpu_us(chain([], end))
    full = await cpu_us(chain([Nothing()] * POLICIES, end))
    print(f"0 policies: {bare:.2f} us a call")
    print(f"{POLICIES} policies that do nothing: {full:.2f} us a call, {full - bare:.2f} us more")


if __name__ == "__main__":
    asyncio.run(main())
