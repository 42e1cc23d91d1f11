"""How many calls a second the SQLite ledger takes: a pair is one reserve and one close, each awaited until committed.

Run ``python -m bench.journal [pairs]``. Bounded: four runs of at most ``pairs`` (default 20,000) or ``RUN_S`` seconds each.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from proxy.call import Opening
from proxy.journal.port import CallFacts, Close, PricedOffer, Reserve, Reserved
from proxy.journal.sqlite import SqliteStore, open_sqlite

ACCOUNTS = 100
RUN_S = 10.0
OPENING = Opening("free", 10**9)
OFFERS = (
    PricedOffer(model="gpt-4o", points=10, points_if_unknown=0),
    PricedOffer(model="gpt-4o-mini", points=3, points_if_unknown=0),
)
FACTS = CallFacts(
    id="",
    account="",
    key_id="k1",
    operation="chat",
    action="ai_message",
    requested_model="gpt-4o",
    stream=True,
    workspace="w",
    prospect="p",
    policy_version="0123456789ab",
    price_version="0123456789ab",
)
CLOSE = Close(
    call_id="",
    how="answered",
    points_charged=10,
    model="gpt-4o",
    upstream="openai",
    provider="openai",
    upstream_model="gpt-4o",
    input_tokens=120,
    output_tokens=80,
    cost_nanousd=1_100_000,
    finish_reasons=("stop",),
    attempts=({"model": "gpt-4o", "upstream": "openai", "status": 200, "started_ms": 1, "ended_ms": 900},),
    first_content_ms=300,
    duration_ms=900,
)


async def pair(store: SqliteStore, n: int) -> None:
    """One call, answered."""
    call_id = f"0193e5a0-0000-7000-8000-{n:012d}"
    facts = replace(FACTS, id=call_id, account=f"main/user-{n % ACCOUNTS}")
    reserved = await store.reserve(Reserve(facts=facts, offers=OFFERS, opening=OPENING))
    assert isinstance(reserved, Reserved)
    await store.close(replace(CLOSE, call_id=call_id))


async def run(folder: Path, durability: Literal["strict", "relaxed"], *, concurrent: int, pairs: int) -> str:
    """One line of figures."""
    store = await open_sqlite(folder / f"{durability}-{concurrent}.db", durability=durability, owner="bench")
    numbers = iter(range(pairs))
    started, cpu, done = time.monotonic(), time.process_time(), 0

    async def caller() -> None:
        nonlocal done
        for n in numbers:
            await pair(store, n)
            done += 1
            if time.monotonic() - started > RUN_S:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrent):
            group.create_task(caller())
    took, cpu = time.monotonic() - started, time.process_time() - cpu
    broken = await store.verify()
    await store.aclose()
    assert not broken, broken
    return (
        f"{durability:8} {concurrent:3} concurrent: {done / took:8,.0f} pairs/s, "
        f"{1e6 * cpu / done:5.0f} µs CPU a pair (loop, writer and SQLite), {done:,} pairs, books verified"
    )


async def main(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for durability in ("strict", "relaxed"):
            for concurrent in (1, 64):
                print(await run(Path(folder), durability, concurrent=concurrent, pairs=pairs), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
