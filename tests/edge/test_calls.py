"""The endpoints that make calls, at their limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import ScriptedUpstream, hang
from proxy.testing.running import running
from tests.story.conftest import FILES, config

pytestmark = pytest.mark.usefixtures("store")

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


async def test_calls_over_the_cap_are_refused_at_once_and_may_be_tried_again(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running(tmp_path, config=config(upstream, "limits: {calls_max: 1}"), files=FILES) as proxy,
        httpx.AsyncClient(headers={"authorization": f"Bearer {await proxy.user_key('ana')}"}) as client,
    ):
        upstream.will([hang()])
        url = f"{proxy.base_url}/chat/completions"
        async with asyncio.TaskGroup() as group:
            running_call = group.create_task(client.post(url, json=CHAT, timeout=30))
            await upstream.arrived()
            refused = await client.post(url, json=CHAT)
            running_call.cancel()
        await proxy.parts.gateway.serving.idle.wait()
        answered = await client.post(url, json=CHAT)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "overloaded"
    assert answered.status_code == 200


async def test_bodies_held_together_have_a_cap(tmp_path: Path) -> None:
    limits = "limits: {body_bytes_max: 4096, bodies_bytes_max: 2048}"
    async with (
        ScriptedUpstream() as upstream,
        running(tmp_path, config=config(upstream, limits), files=FILES) as proxy,
        httpx.AsyncClient(headers={"authorization": f"Bearer {await proxy.user_key('ana')}"}) as client,
    ):
        big = {**CHAT, "messages": [{"role": "user", "content": "x" * 3000}]}
        refused = await client.post(f"{proxy.base_url}/chat/completions", json=big)

    assert refused.status_code == 503
    assert "bodies_bytes_max" in refused.json()["error"]["message"]
