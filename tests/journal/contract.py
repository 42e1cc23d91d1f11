"""What the journal's tests share: a migrated database made once, builders of operations, stores whose answers wait."""

from __future__ import annotations

import asyncio
import functools
import itertools
import tempfile
from asyncio import Future
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from proxy.call import Opening
from proxy.journal.memory import MemoryStore
from proxy.journal.migrate import migrate
from proxy.journal.port import (
    CallFacts,
    Close,
    Closed,
    Exhausted,
    Grant,
    PricedOffer,
    Refuse,
    Reserve,
    Reserved,
)

R = TypeVar("R")

USER = "main/alice"
OPENING = Opening("free", 25)
PREMIUM = PricedOffer(model="gpt-4o", points=10, points_if_unknown=0)
ECONOMY = PricedOffer(model="gpt-4o-mini", points=3, points_if_unknown=0)


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        migrate(path)
        return path.read_bytes()


def fresh_database(folder: Path, name: str = "orch.db") -> Path:
    """A migrated, empty ledger; copied, for a migration takes a third of a second."""
    path = folder / name
    path.write_bytes(_template())
    return path


def facts(call_id: str, account: str = USER, **changes: Any) -> CallFacts:
    made = CallFacts(
        id=call_id,
        account=account,
        key_id="k1",
        operation="chat",
        action="ai_message",
        requested_model="gpt-4o",
        stream=False,
        workspace=None,
        prospect=None,
        policy_version="p1",
        price_version="e1",
    )
    return replace(made, **changes)


def reserve(
    call_id: str, *offers: PricedOffer, account: str = USER, opening: Opening = OPENING, **changes: Any
) -> Reserve:
    """A reserve of these offers (default: premium, then economy)."""
    return Reserve(facts=facts(call_id, account, **changes), offers=offers or (PREMIUM, ECONOMY), opening=opening)


def offer(points: int, model: str = "gpt-4o", if_unknown: int = 0) -> PricedOffer:
    return PricedOffer(model=model, points=points, points_if_unknown=if_unknown)


def answered(call_id: str, points: int = 10, **changes: Any) -> Close:
    made = Close(
        call_id=call_id,
        how="answered",
        points_charged=points,
        model="gpt-4o",
        upstream="openai",
        provider="openai",
        upstream_model="gpt-4o",
        input_tokens=12,
        output_tokens=40,
        cost_nanousd=430_000,
        finish_reasons=("stop",),
        attempts=({"model": "gpt-4o", "status": 200},),
        first_content_ms=300,
        duration_ms=900,
    )
    return replace(made, **changes)


def grant(points: int, kind: str = "pack", account: str = USER, source_ref: str | None = None) -> Grant:
    return Grant(account=account, points=points, kind=kind, source_ref=source_ref)


def ticking(start: int = 1_700_000_000_000) -> Callable[[], int]:
    """A clock that moves one millisecond at every look."""
    return itertools.count(start).__next__


class HeldBack(MemoryStore):
    """A memory ledger that does everything in order but answers only when told: ``answer()`` lets the oldest out.

    ``fail`` makes answers come as that error instead, whatever was done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Future[Any], Future[Any]]] = []
        self.asked: list[str] = []

    def reserve(self, op: Reserve) -> Future[Reserved | Exhausted]:
        return self._hold_back("reserve", super().reserve(op))

    def raise_hold(self, call_id: str, *, points: int, points_if_unknown: int) -> Future[bool]:
        return self._hold_back("raise", super().raise_hold(call_id, points=points, points_if_unknown=points_if_unknown))

    def close(self, op: Close) -> Future[Closed]:
        return self._hold_back(f"close {op.how} {op.points_charged}", super().close(op))

    def withdraw(self, call_id: str) -> Future[None]:
        self.asked.append("withdraw")
        return super().withdraw(call_id)

    def refuse(self, op: Refuse) -> Future[None]:
        return self._hold_back("refuse", super().refuse(op))

    def _hold_back(self, name: str, done: Future[R]) -> Future[R]:
        later: Future[R] = asyncio.get_running_loop().create_future()
        self.asked.append(name)
        self.waiting.append((done, later))
        return later

    def answer(self) -> None:
        done, later = self.waiting.pop(0)
        error = done.exception()
        if later.done():
            return
        if error is None:
            later.set_result(done.result())
        else:
            later.set_exception(error)

    def fail(self, error: Exception) -> None:
        done, later = self.waiting.pop(0)
        done.exception()
        if not later.done():
            later.set_exception(error)


def without_times(row: Mapping[str, Any] | None) -> dict[str, Any]:
    assert row is not None
    return {name: value for name, value in row.items() if name not in ("created_at", "closed_at", "owner")}
