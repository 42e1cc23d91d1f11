"""CPU of telemetry per call: what the observers take when a call has ended, and how long a scrape holds up the loop.

``python bench/observe.py [--calls 100000]``. The share is of the CPU of a whole call, which ``bench/gateway.py`` measures.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from dataclasses import replace

from prometheus_client import generate_latest

from proxy.call import Attempt, Call, Deployment, Ending, How, Outcome, Receipt, Usage
from proxy.telemetry.call_log import CallLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.observers import Observers
from proxy.testing import FakeHold, fake_call

HERE = Deployment(upstream="fake", provider="openai", model="gpt-4o")
LABEL_SETS = 200


def ended(model: str = "gpt-4o") -> Call:
    """An answered call of one attempt, as the edge tells of it."""
    call, now = fake_call(), time.monotonic()
    call.trace.booked = replace(call, model=model, action="ai_message", hold=FakeHold(10))
    call.trace.ending, call.trace.receipt = Ending(How.ANSWERED, model), Receipt(charged=10, remaining=5)
    attempt = Attempt(model=model, deployment=HERE, started_at=now - 1, ended_at=now, first_content_at=now - 0.5)
    call.trace.attempts.append(attempt)
    usage = Usage(input_tokens=12, output_tokens=7)
    call.trace.outcome = Outcome(model=model, deployment=HERE, usage=usage, cost_nanousd=100)
    return call


async def longest_pause_ms(metrics: Metrics) -> float:
    """The longest the loop waited for its turn while the text was written in a thread."""
    writing = threading.Thread(target=lambda: generate_latest(metrics._registry))
    writing.start()
    longest, before = 0.0, time.perf_counter()
    while writing.is_alive():
        await asyncio.sleep(0)
        longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
    return longest * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    calls = parser.parse_args().calls
    metrics = Metrics()
    models = [f"model-{number}" for number in range(LABEL_SETS)]
    metrics.calls.know(models=["gpt-4o", *models], actions=["ai_message"])
    observers, call = Observers([metrics.calls, CallLog()]), ended()
    observers.ended(call, None)
    began = time.process_time()
    for _ in range(calls):
        observers.ended(call, None)
    print(f"{(time.process_time() - began) / calls * 1e6:6.2f} µs of CPU a call")
    for model in models:
        observers.ended(ended(model), None)
    began = time.process_time()
    text = generate_latest(metrics._registry)
    print(f"{(time.process_time() - began) * 1000:6.1f} ms of CPU to write {len(text.splitlines())} lines")
    print(f"{asyncio.run(longest_pause_ms(metrics)):6.1f} ms the loop waited at most meanwhile")


if __name__ == "__main__":
    main()
