"""llm-comply, the compliance tester: it finds the proxy in front of an upstream as compliant as the upstream itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import Exchange, Script, ScriptedUpstream, answer, completion, default_stream, error, stream
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES, config

WAIT_S = 60
MODEL = "gpt-5"  # only of a reasoning model are all checks asked
ASKED_OF_AN_ANSWER = 9
TOOL: Path = Path(sys.executable).parent / "llm-comply"

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"llm-comply is not installed beside {sys.executable}")


async def compliant_answer(exchange: Exchange) -> None:
    """Answer like OpenAI, as far as the checks look."""
    for step in _answer_to(exchange.request.body):
        await step(exchange)


def _answer_to(request: dict[str, Any]) -> Script:
    if "model" not in request:
        return error(400, "you must provide a model parameter", kind="invalid_request_error")
    if request.get("stream"):
        return stream(*default_stream(request))
    body = completion(model=request["model"])
    message = body["choices"][0]["message"]
    message["annotations"] = []
    body["usage"] |= {"completion_tokens_details": {"reasoning_tokens": 5 if "reasoning_effort" in request else 0}}
    if "tools" in request:
        function = {"name": "get_weather", "arguments": '{"location": "San Francisco"}'}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        body["choices"][0]["finish_reason"] = "tool_calls"
    return answer(body)


@pytest.fixture
async def proxied(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    model = f"  {MODEL}: {{deployments: [{{upstream: fake}}], price: {{input: 1, output: 8}}}}"
    async with running(tmp_path, config=config(upstream, model), files=FILES) as served:
        yield served


async def found(base_url: str, key: str) -> dict[str, dict[str, Any]]:
    """What the tool says of this endpoint: by check, its status, errors and warnings."""
    asked = ("--format", "openai-chat", "--model", MODEL, "--base-url", base_url, "--api-key", key, "--json")
    tool = await asyncio.create_subprocess_exec(
        str(TOOL), *asked, "--timeout", "20", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, said = await tool.communicate()
    finally:
        if tool.returncode is None:
            tool.kill()
            await tool.wait()
    assert tool.returncode in (0, 1), said.decode()
    checks = json.loads(out)["results"]
    return {check.pop("id"): {name: check[name] for name in check if name != "duration_ms"} for check in checks}


async def test_it_passes_through_the_proxy_whatever_it_passes_directly(
    proxied: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.always([compliant_answer])
    key = await proxied.user_key("ana", energy=1000)

    directly, through = await asyncio.gather(found(upstream.base_url, "any"), found(proxied.base_url, key))

    assert len(directly) == ASKED_OF_AN_ANSWER
    assert [check for check in directly if directly[check]["status"] != "passed"] == []
    assert through == directly


async def test_what_it_fails_directly_it_fails_through_the_proxy_for_the_same_reasons(
    proxied: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """The upstream's plain answers: no tool calls, no reasoning, no model checked."""
    key = await proxied.user_key("ana", energy=1000)

    directly, through = await asyncio.gather(found(upstream.base_url, "any"), found(proxied.base_url, key))

    failed = {check for check in directly if directly[check]["status"] == "failed"}
    assert "chat-tool-calling" in failed
    mended = {"chat-error-handling"}  # a request without a model is refused here, whatever the provider would say
    assert {check: through[check] for check in failed - mended} == {check: directly[check] for check in failed - mended}
