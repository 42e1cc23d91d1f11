"""The official OpenAI package for node, pointed at the proxy: chat, streams, tools, embeddings, errors, no retry of a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import (
    ScriptedUpstream,
    answer,
    close,
    completion,
    delta,
    error,
    event,
    finish,
    hang,
    head,
    role,
    stream,
    stream_event,
)
from proxy.testing.running import RunningProxy
from tests.story.recordings import recorded

HERE = Path(__file__).parent / "node"
PACKAGE = Path(os.environ.get("OPENAI_NODE_DIR", HERE)) / "node_modules" / "openai" / "package.json"
NODE = shutil.which("node")
WAIT_S = 60

MISSING = "the openai package for node is not installed: make node" if NODE else "node is not installed"

pytestmark = pytest.mark.skipif(not (NODE and PACKAGE.exists()), reason=MISSING)


async def seen(scene: str, proxy: RunningProxy, key: str) -> Any:
    """What the package saw in this scene."""
    environ = {**os.environ, "OPENAI_BASE_URL": proxy.base_url, "OPENAI_API_KEY": key}
    playing = await asyncio.create_subprocess_exec(
        str(NODE),
        str(HERE / "scene.mjs"),
        scene,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, said = await playing.communicate()
    finally:
        if playing.returncode is None:
            playing.kill()
            await playing.wait()
    assert playing.returncode == 0, said.decode()
    return json.loads(out)


async def test_a_chat_is_answered_and_its_headers_can_be_read(proxy: RunningProxy) -> None:
    got = await seen("chat", proxy, await proxy.user_key("ana", energy=25))

    assert got["answer"] == completion(model="gpt-4o")
    assert (got["headers"]["x-orch-energy-charged"], got["headers"]["x-orch-energy-remaining"]) == ("10", "15")


async def test_a_stream_is_read_to_its_end_with_usage_and_what_it_cost(proxy: RunningProxy) -> None:
    *chunks, last = await seen("stream", proxy, await proxy.user_key("ana", energy=25))

    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello there"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"]["total_tokens"], last["orch"]["energy_remaining"]) == ([], 19, 15)


async def test_a_stream_is_put_together_to_a_final_completion(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will(stream(role(), delta("Grüezi "), delta("🦉"), finish()))

    got = await seen("finalChatCompletion", proxy, await proxy.user_key("ana", energy=25))

    assert got["pieces"] == ["Grüezi ", "🦉"]
    assert got["answer"]["choices"][0]["message"]["content"] == "Grüezi 🦉"
    assert got["answer"]["choices"][0]["finish_reason"] == "stop"


async def test_tools_are_run_and_their_answers_sent_back(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}
    asks = completion()
    asks["choices"][0] |= {
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "finish_reason": "tool_calls",
    }
    upstream.will(answer(asks), answer(completion("It is sunny.")))

    got = await seen("runTools", proxy, await proxy.user_key("ana", energy=25))

    assert got == {"text": "It is sunny.", "calls": ["Zürich"]}
    [*_, asked_back, told] = upstream.requests[1].body["messages"]
    assert asked_back["tool_calls"] == [call]
    assert (told["role"], told["tool_call_id"], told["content"]) == ("tool", "call_1", "sunny in Zürich")


async def test_streamed_tool_calls_are_put_together(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    def piece(index: int, **call: Any) -> dict[str, Any]:
        return stream_event([{"index": 0, "delta": {"tool_calls": [{"index": index, **call}]}, "finish_reason": None}])

    end = stream_event([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    upstream.will(
        stream(
            role(),
            piece(0, id="call_1", type="function", function={"name": "weather", "arguments": '{"ci'}),
            piece(1, id="call_2", type="function", function={"name": "weather", "arguments": "{}"}),
            piece(0, function={"arguments": 'ty":"東京"}'}),
            end,
        )
    )

    got = await seen("streamedTools", proxy, await proxy.user_key("ana", energy=25))

    assert [(call["id"], call["function"]["arguments"]) for call in got] == [
        ("call_1", '{"city":"東京"}'),
        ("call_2", "{}"),
    ]


async def test_embeddings_come_as_numbers(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    [vectors] = recorded("whole/embeddings_base64.json")
    upstream.will(answer(vectors.read_bytes()))

    got = await seen("embeddings", proxy, await proxy.user_key("ana", energy=0))

    assert [[round(number, 3) for number in vector] for vector in got] == [[0.1, 0.2, 0.3], [1, 2, 3]]
    assert upstream.requests[0].body["encoding_format"] == "base64"


async def test_models_are_listed(proxy: RunningProxy) -> None:
    got = await seen("models", proxy, await proxy.user_key("ana"))
    assert set(got) == {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}


async def test_errors_arrive_as_the_packages_own_classes(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    got = await seen("errors", proxy, await proxy.user_key("ana", energy=25))

    assert {case: (refusal["kind"], refusal["status"]) for case, refusal in got.items()} == {
        "noSuchModel": ("NotFoundError", 404),
        "noMessages": ("BadRequestError", 400),
        "wrongKey": ("AuthenticationError", 401),
    }
    assert got["noSuchModel"]["code"] == "model_not_found"
    assert got["noMessages"]["param"] == "messages"
    assert "User not authenticated" in got["wrongKey"]["message"]
    assert upstream.requests == []


async def test_a_refusal_for_want_of_energy_is_not_tried_again(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    got = await seen("refusal", proxy, await proxy.user_key("ana", energy=2))

    assert (got["kind"], got["status"], got["code"]) == ("RateLimitError", 429, "insufficient_energy")
    assert "Insufficient energy. Required: 3, Available: 2" in got["message"]
    assert upstream.requests == []
    with contextlib.closing(sqlite3.connect(f"file:{proxy.database}?mode=ro", uri=True)) as reader:
        assert reader.execute("SELECT error FROM calls").fetchall() == [
            ("insufficient_energy",)
        ]  # one row: it asked once


async def test_what_the_proxy_tried_three_times_is_not_tried_nine_times(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.always(error(500))

    got = await seen("refusal", proxy, await proxy.user_key("ana", energy=25))

    assert (got["kind"], got["status"]) == ("InternalServerError", 502)
    assert len(upstream.requests) == 3


async def test_a_stream_that_breaks_is_an_error_after_its_pieces(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.will([head(), event(role()), event(delta("Hel")), close()])

    got = await seen("brokenStream", proxy, await proxy.user_key("ana", energy=25))

    assert "Hel" in got["pieces"]
    assert (got["refusal"]["kind"], got["refusal"]["code"]) == ("APIError", "upstream_broke")


async def test_a_client_that_aborts_stops_the_upstream(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will([head(), event(role()), event(delta("Hel")), hang()])

    assert await seen("abort", proxy, await proxy.user_key("ana", energy=25)) == "left"

    async with asyncio.timeout(WAIT_S):
        await upstream.requests[0].hung_up.wait()
