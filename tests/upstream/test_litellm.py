"""The LiteLLM route against loopback servers that speak Anthropic's, Gemini's and OpenAI's protocols."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.testing import ScriptedUpstream, answer, close, completion, delta, event, finish, hang, head, role, stream
from proxy.upstream.litellm import LitellmUpstream
from tests.upstream import fake_anthropic as anthropic
from tests.upstream import fake_gemini as gemini
from tests.upstream.litellm_route import (
    OPENAI_KEY,
    QUIET,
    WEATHER,
    answered,
    chat,
    deltas,
    embed,
    finishes,
    payload,
    sent,
    streamed,
    through,
)

pytestmark = pytest.mark.filterwarnings(*QUIET)

ANTHROPIC_USAGE = {
    "prompt_tokens": anthropic.INPUT_TOKENS + anthropic.CACHED_TOKENS,
    "completion_tokens": anthropic.OUTPUT_TOKENS,
    "total_tokens": anthropic.INPUT_TOKENS + anthropic.CACHED_TOKENS + anthropic.OUTPUT_TOKENS,
    "prompt_tokens_details": {"cached_tokens": anthropic.CACHED_TOKENS},
}
GEMINI_USAGE = {
    "prompt_tokens": gemini.INPUT_TOKENS,
    "completion_tokens": gemini.OUTPUT_TOKENS,
    "total_tokens": gemini.INPUT_TOKENS + gemini.OUTPUT_TOKENS,
    "prompt_tokens_details": {"cached_tokens": gemini.CACHED_TOKENS},
}
KEYS = {"anthropic": anthropic.KEY, "gemini": gemini.KEY, "openai": OPENAI_KEY}
MODELS = {"anthropic": anthropic.MODEL, "gemini": gemini.MODEL, "openai": "m"}
TOOL_CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


# --- Anthropic -------------------------------------------------------------------------------------------------------


async def test_claude_answers_in_openais_shape() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        body = await answered(upstream, chat(anthropic.MODEL))
    assert body.pop("id")
    assert body.pop("created") > 1_700_000_000
    message = {"role": "assistant", "content": "Hello"}
    assert body == {
        "object": "chat.completion",
        "model": anthropic.MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": ANTHROPIC_USAGE,
    }
    assert len(server.requests) == 1
    assert server.requests[0].call_id == "call-1"


async def test_claude_streams_in_openais_shape() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        payloads = await streamed(upstream, chat(anthropic.MODEL, stream=True))
    assert deltas(payloads) == [{"role": "assistant", "content": "Hel"}, {"content": "lo"}, {}]
    assert finishes(payloads) == ["stop"]
    assert payloads[-1]["choices"] == []
    assert payloads[-1]["usage"] == ANTHROPIC_USAGE
    assert not any("usage" in payload for payload in payloads[:-1])
    assert len({(payload["id"], payload["created"], payload["model"], payload["object"]) for payload in payloads}) == 1
    assert payloads[0]["model"] == anthropic.MODEL
    assert len(server.requests) == 1


async def test_claude_calls_a_tool() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        blocks = anthropic.text_block("Looking."), anthropic.tool_block({"city": "Rome"})
        server.will(answer(anthropic.message(*blocks, stop_reason="tool_use")))
        body = await answered(upstream, chat(anthropic.MODEL, tools=[WEATHER], tool_choice="auto"))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Looking."
    assert choice["message"]["tool_calls"] == [{"id": "toolu_01A", **TOOL_CALL}]
    (tool,) = server.requests[0].body["tools"]
    assert (tool["name"], tool["input_schema"]["properties"]) == ("weather", {"city": {"type": "string"}})


async def test_claude_streams_a_tool_call_with_its_index_on_every_piece() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        pieces = anthropic.tool('{"city"', ': "Rome"}')
        server.will([*anthropic.start(), *anthropic.text("Looking."), *pieces, *anthropic.stop("tool_use")])
        payloads = await streamed(upstream, chat(anthropic.MODEL, stream=True, tools=[WEATHER]))
    calls = [call for delta in deltas(payloads) for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 0, 0]
    assert calls[0]["id"] == "toolu_01A"
    assert (calls[0]["type"], calls[0]["function"]["name"]) == ("function", "weather")
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Rome"}'
    assert finishes(payloads) == ["tool_calls"]


async def test_claudes_thinking_is_kept_as_reasoning_with_its_signature() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        thinking = anthropic.thinking("Let me", " see.")
        server.will([*anthropic.start(), *thinking, *anthropic.text("Yes.", index=1), *anthropic.stop()])
        payloads = await streamed(upstream, chat(anthropic.MODEL, stream=True, reasoning_effort="low"))
    found = deltas(payloads)
    assert "".join(delta.get("reasoning_content", "") for delta in found) == "Let me see."
    assert "".join(delta.get("content", "") for delta in found) == "Yes."
    signatures = [block.get("signature") for delta in found for block in delta.get("thinking_blocks", ())]
    assert "EqQBCg" in signatures


async def test_claude_is_told_a_cap_on_output_only_when_the_client_gives_none() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        await sent(upstream, chat(anthropic.MODEL))
        await sent(upstream, chat(anthropic.MODEL, max_tokens=7))
        await sent(upstream, chat(anthropic.MODEL, max_completion_tokens=8))
    assert [request.body["max_tokens"] for request in server.requests] == [16_384, 7, 8]


# --- Gemini ----------------------------------------------------------------------------------------------------------


async def test_gemini_answers_in_openais_shape() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        body = await answered(upstream, chat(gemini.MODEL, seed=3, user="u1"))
    message = {"role": "assistant", "content": "Hello"}
    assert body["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert body["usage"] == GEMINI_USAGE
    assert body["model"] == gemini.MODEL
    assert len(server.requests) == 1


async def test_gemini_streams_in_openais_shape() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        payloads = await streamed(upstream, chat(gemini.MODEL, stream=True))
    assert deltas(payloads) == [{"role": "assistant", "content": "Hel"}, {"content": "lo"}, {}]
    assert finishes(payloads) == ["stop"]
    assert payloads[-1] == {**payloads[0], "choices": [], "usage": GEMINI_USAGE}
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_gemini_calls_a_tool(stream: bool) -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        said = gemini.content(gemini.call_part({"city": "Rome"}))
        server.will(gemini.stream(said) if stream else answer(said))
        request = chat(gemini.MODEL, stream=stream, tools=[WEATHER])
        parts = await streamed(upstream, request) if stream else [await answered(upstream, request)]
    choices = [choice for part in parts for choice in part["choices"]]
    (call,) = (call for choice in choices for call in choice.get("delta", choice.get("message")).get("tool_calls", ()))
    assert call.pop("id").startswith("call_")
    assert call == ({"index": 0, **TOOL_CALL} if stream else TOOL_CALL)
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_gemini_stream_that_stops_without_a_reason_is_not_an_answer() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        server.will(gemini.stream(gemini.content(gemini.text_part("Hel"), finish=None)))
        taken = await cut(upstream, chat(gemini.MODEL, stream=True))
    assert [payload(raw)["choices"][0]["finish_reason"] for raw in taken] == [None]


async def test_geminis_vectors_come_as_floats_or_as_base64() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        request = embed("gemini-embedding-001", input=["a", "b"], user="u1")
        plain = await answered(upstream, request)
        packed = await answered(upstream, embed("gemini-embedding-001", input=["a", "b"], encoding_format="base64"))
    assert [item["embedding"] for item in plain["data"]] == [gemini.VECTOR] * 2
    assert [item["index"] for item in plain["data"]] == [0, 1]
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<3f", raw)) == gemini.VECTOR
    assert len(server.requests) == 2


# --- servers that speak OpenAI's protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
async def test_an_openai_like_server_is_asked_and_answers_as_it_would_directly(provider: str) -> None:
    async with ScriptedUpstream() as server, through(server, provider, OPENAI_KEY) as upstream:
        options = {"include_usage": True}
        whole = await answered(upstream, chat("m", seed=3, logprobs=True, n=1, temperature=0.5))
        payloads = await streamed(upstream, chat("m", stream=True, stream_options=options))
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Hello there"}
    assert whole["usage"] == {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
    assert "".join(delta.get("content", "") for delta in deltas(payloads)) == "Hello there"
    assert payloads[-1]["usage"] == whole["usage"]
    first, second = (request.body for request in server.requests)
    assert first == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "seed": 3,
        "logprobs": True,
        "n": 1,
        "temperature": 0.5,
    }
    assert (second["stream"], second["stream_options"]) == (True, options)


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
async def test_usage_that_the_provider_did_not_send_is_not_made_up(provider: str) -> None:
    async with ScriptedUpstream() as server, through(server, provider, OPENAI_KEY) as upstream:
        silent = {name: value for name, value in completion(model="m").items() if name != "usage"}
        server.will(answer(silent), stream(role(), delta("Hello"), finish()))
        whole = await answered(upstream, chat("m"))
        payloads = await streamed(upstream, chat("m", stream=True, stream_options={"include_usage": True}))
    assert "usage" not in whole
    assert not any("usage" in payload for payload in payloads)
    assert finishes(payloads) == ["stop"]


async def test_base64_vectors_are_the_servers_floats() -> None:
    async with ScriptedUpstream() as server, through(server, "openai", OPENAI_KEY) as upstream:
        plain = await answered(upstream, embed("e", input="a", dimensions=3))
        packed = await answered(upstream, embed("e", input="a", encoding_format="base64"))
    floats = plain["data"][0]["embedding"]
    expected = base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
    assert packed["data"][0]["embedding"] == expected
    assert plain["usage"].keys() == {"prompt_tokens", "total_tokens"}
    assert server.requests[0].body["dimensions"] == 3


# --- ends ------------------------------------------------------------------------------------------------------------


async def cut(upstream: LitellmUpstream, request: Any) -> list[bytes]:
    """What came before the stream failed as unavailable."""
    taken: list[bytes] = []

    async def take(raw: bytes) -> None:
        taken.append(raw)

    with pytest.raises(UpstreamUnavailable):
        await upstream.send(request, take)
    return taken


async def test_a_claude_stream_that_ends_without_a_stop_reason_is_not_an_answer() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        server.will([*anthropic.start(), *anthropic.text("Hel", "lo"), close()])
        taken = await cut(upstream, chat(anthropic.MODEL, stream=True))
    assert [payload(raw)["choices"][0]["finish_reason"] for raw in taken] == [None, None]
    assert len(server.requests) == 1


async def test_a_finished_openai_stream_without_done_is_an_answer() -> None:
    async with ScriptedUpstream() as server, through(server, "hosted_vllm", OPENAI_KEY) as upstream:
        server.will([head(), event(delta("Hello")), event(finish()), close()])
        payloads = await streamed(upstream, chat("m", stream=True))
    assert finishes(payloads) == ["stop"]


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai"])
async def test_a_cancelled_call_hangs_up_on_the_provider(provider: str, started: bool) -> None:
    async with _fake(provider) as server, through(server, provider, KEYS[provider]) as upstream:
        await upstream.load()
        opening = _opening(provider) if started else []
        server.will([*opening, hang()])
        content = asyncio.Event()

        async def take(raw: bytes) -> None:
            content.set()

        sending = asyncio.create_task(upstream.send(chat(MODELS[provider], stream=True), take))
        request = await server.arrived()
        if started:
            await content.wait()
        sending.cancel()
        async with asyncio.timeout(1):
            await request.hung_up.wait()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert len(server.requests) == 1


async def test_what_take_raises_comes_out_as_it_is_and_hangs_up() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        server.will([*_opening("anthropic"), hang()])

        async def take(raw: bytes) -> None:
            raise KeyError("ours")

        with pytest.raises(KeyError, match="ours"):
            await upstream.send(chat(anthropic.MODEL, stream=True), take)
        async with asyncio.timeout(1):
            await server.requests[0].hung_up.wait()


async def test_closing_one_upstream_leaves_the_others_working() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as kept:
        async with through(server, "anthropic", anthropic.KEY) as replaced:
            await sent(kept, chat(anthropic.MODEL))
            await sent(replaced, chat(anthropic.MODEL))
        await sent(kept, chat(anthropic.MODEL))
    assert len(server.requests) == 3


def _fake(provider: str) -> ScriptedUpstream:
    if provider == "anthropic":
        return anthropic.FakeAnthropic()
    return gemini.FakeGemini() if provider == "gemini" else ScriptedUpstream()


def _opening(provider: str) -> list[Any]:
    if provider == "anthropic":
        return [*anthropic.start(), *anthropic.text("Hel", "lo")]
    if provider == "gemini":
        return [head(), event(gemini.content(gemini.text_part("Hel"), finish=None))]
    return [head(), event(role()), event(delta("Hel")), event(delta("lo"))]
