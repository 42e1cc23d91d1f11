"""A ledger with calls of every kind in it, and more calls while a command looks on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.call import Opening
from proxy.journal import lock
from proxy.journal.port import CallFacts, Close, PricedOffer, Refuse, Reserve, Store
from proxy.journal.sqlite import open_sqlite

ANSWER = Close(
    call_id="",
    how="answered",
    points_charged=10,
    model="gpt-4o",
    upstream="openai",
    provider="openai",
    upstream_model="gpt-4o",
    input_tokens=12,
    output_tokens=40,
    cost_nanousd=430_000,
    finish_reasons=("stop",),
    attempts=({"model": "gpt-4o", "upstream": "openai", "status": 200, "started_ms": 1, "ended_ms": 900},),
    duration_ms=900,
)


_MADE = f"{time.time_ns() // 1_000_000:012x}"


def call_id(number: int) -> str:
    """Ids in order; like those of real calls they are UUIDs of version 7, made now."""
    return f"{_MADE[:8]}-{_MADE[8:]}-7000-8000-{number:012d}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Writes calls as a proxy does."""

    store: Store

    async def begin(self, number: int, user: str = "ana", model: str = "gpt-4o") -> None:
        offer = PricedOffer(model=model, points=10, points_if_unknown=0)
        facts = self._facts(number, user, model)
        await self.store.reserve(Reserve(facts=facts, offers=(offer,), opening=Opening("free", 1000)))

    async def end(self, number: int, how: str = "answered", **changes: object) -> None:
        points = 10 if how == "answered" else 0
        close = replace(ANSWER, call_id=call_id(number), how=how, points_charged=points)
        await self.store.close(replace(close, **changes))  # type: ignore[arg-type]

    async def answered(self, number: int, user: str = "ana") -> None:
        await self.begin(number, user)
        await self.end(number)

    async def refused(self, number: int, user: str = "ana") -> None:
        facts = self._facts(number, user, "gpt-5o")
        await self.store.refuse(Refuse(facts=facts, error="model_not_found", message="no such model"))

    def _facts(self, number: int, user: str, model: str) -> CallFacts:
        return CallFacts(
            id=call_id(number),
            account=f"app/{user}",
            key_id="k1",
            operation="chat",
            action="ai_message",
            requested_model=model,
            stream=False,
            workspace=None,
            prospect=None,
            policy_version="p1",
            price_version="e1",
        )


@asynccontextmanager
async def written(database: Path) -> AsyncIterator[Ledger]:
    """The ledger at ``database``, open for writing as by a proxy."""
    with lock.locked(database, socket=None, owner="test"):
        store = await open_sqlite(database, durability="relaxed", owner="test")
        try:
            yield Ledger(store)
        finally:
            await store.aclose()


def with_calls(database: Path) -> None:
    """Ana: two answered, one failed, one refused; ben: one answered. The newest is number 5."""

    async def write() -> None:
        async with written(database) as ledger:
            await ledger.answered(1)
            await ledger.begin(2)
            await ledger.end(
                2, "failed", model=None, error="upstream_unavailable", cost_nanousd=None, input_tokens=None
            )
            await ledger.refused(3)
            await ledger.answered(4, "ben")
            await ledger.answered(5)

    asyncio.run(write())
