"""200 calls at once on a balance for 50: exactly 50 are answered, and the books balance."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy

CALLS = 200
PAID_FOR = 50
CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


async def test_200_calls_at_once_on_a_balance_for_50_are_never_over_spent(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    key = await proxy.user_key("ana", energy=PAID_FOR * 3 + 2)
    limits = httpx.Limits(max_connections=CALLS)

    async with httpx.AsyncClient(timeout=60, limits=limits, headers={"authorization": f"Bearer {key}"}) as client:
        url = f"{proxy.base_url}/chat/completions"
        answers = await asyncio.gather(*(client.post(url, json=CHAT) for _ in range(CALLS)))

    assert Counter(answer.status_code for answer in answers) == {200: PAID_FOR, 429: CALLS - PAID_FOR}
    balance = await proxy.parts.store.balance("app/ana")
    assert balance is not None
    assert (balance.balance, balance.held) == (2, 0)
    assert await proxy.parts.store.verify() == []
    answered = {request.call_id for request in upstream.requests}
    assert len(answered) == PAID_FOR
    assert await asyncio.to_thread(_charged, proxy.database) == answered


def _charged(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
        return {row[0] for row in reader.execute("SELECT id FROM calls WHERE points_charged = 3")}
