"""A provider that repeats our key in its errors does not tell it to our clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import Script, ScriptedUpstream, answer, delta, end, event, head, role
from proxy.testing.running import running
from tests.story.conftest import FILES, config

KEY = "CANARYprov0123456789abcdefXYZ"  # looks like no key we could know by its shape
LEAK: Any = {"error": {"message": f"bad key: {KEY}", "type": None, "code": KEY, KEY: {KEY: [KEY]}}}

LEAKS: list[tuple[str, bool, Script]] = [
    ("a rejection", False, answer(LEAK, status=400)),
    ("a refusal", False, answer(LEAK, status=401)),
    ("an error in a 200", False, answer(LEAK)),
    ("an error in a 200 where a stream was asked for", True, answer(LEAK)),
    ("an event before content", True, [head(), event(LEAK), end()]),
    ("an event after content", True, [head(), event(role()), event(delta("Hi")), event(LEAK), end()]),
]


@pytest.mark.parametrize(("streamed", "script"), [leak[1:] for leak in LEAKS], ids=[leak[0] for leak in LEAKS])
async def test_our_key_at_the_provider_is_in_no_answer_and_no_record(
    tmp_path: Path, upstream: ScriptedUpstream, streamed: bool, script: Script
) -> None:
    upstream.always(script)
    ours = config(upstream).replace("sk-upstream-canary", KEY)
    chat: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}

    async with running(tmp_path, config=ours, files=FILES) as proxy:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {await proxy.user_key('ana')}"}) as client:
            got = await client.post(f"{proxy.base_url}/chat/completions", json=chat)
        row = await proxy.parts.store.call(got.headers["x-request-id"])

    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "error" in got.text
    assert KEY not in got.text + str(got.headers) + str(row)


async def test_a_code_that_is_no_word_is_not_relayed_as_one(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    odd = {"message": "no", "type": ["a"], "code": {"x": 2}, "param": "p" * 5000}
    upstream.always(answer({"error": odd}, status=400))
    chat: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}

    async with running(tmp_path, config=config(upstream), files=FILES) as proxy:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {await proxy.user_key('ana')}"}) as client:
            got = await client.post(f"{proxy.base_url}/chat/completions", json=chat)

    shown = json.loads(got.text)["error"]
    assert (got.status_code, shown["code"]) == (400, None)
    assert len(shown["param"]) == 200
