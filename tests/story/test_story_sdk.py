"""The real OpenAI SDK, pointed at the proxy, gets what it would get directly; the call is priced, charged once and recorded."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from proxy.testing import ScriptedUpstream, answer, completion, error, stream, stream_event
from proxy.testing.running import RunningProxy

HELLO: Any = [{"role": "user", "content": "hello"}]


async def test_a_chat_is_answered_priced_charged_once_and_recorded(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)

    assert raw.parse().choices[0].message.content == "Hello there"
    assert raw.headers["x-orch-model"] == "gpt-4o"
    assert raw.headers["x-orch-energy-charged"] == "10"
    assert raw.headers["x-orch-energy-remaining"] == "15"
    assert raw.headers["x-orch-attempts"] == "1"
    assert raw.headers["x-orch-cost-usd"] == "0.0001"  # 12 tokens in at 2.5, 7 out at 10 USD per million
    [request] = upstream.requests
    assert request.call_id == raw.headers["x-request-id"]
    assert request.headers["authorization"] == "Bearer sk-upstream-canary"
    row = await proxy.parts.store.call(raw.headers["x-request-id"])
    assert row is not None
    assert (row["state"], row["points_charged"], row["model"], row["input_tokens"]) == ("closed", 10, "gpt-4o", 12)


async def test_a_stream_arrives_piece_by_piece_without_usage_nobody_asked_for(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        events = [
            chunk async for chunk in await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        ]

    assert "".join(event.choices[0].delta.content or "" for event in events) == "Hello there"
    assert all(event.choices for event in events)
    assert upstream.requests[0].body["stream_options"] == {"include_usage": True}
    balance = await proxy.parts.store.balance("app/ana")
    assert balance is not None
    assert (balance.balance, balance.held) == (15, 0)


async def test_a_stream_that_asked_for_usage_ends_with_it_and_with_what_it_cost(proxy: RunningProxy) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        events = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
        ]

    last = events[-1]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (12, 7)
    assert last.model_extra is not None
    assert last.model_extra["orch"]["energy_charged"] == 10
    assert last.model_extra["orch"]["energy_remaining"] == 15


async def test_tool_calls_survive_the_way(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}
    body = completion()
    body["choices"][0] |= {
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "finish_reason": "tool_calls",
    }
    upstream.will(answer(body))
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        got = await client.chat.completions.create(
            model="gpt-4o", messages=HELLO, tools=tools, parallel_tool_calls=False
        )

    assert got.choices[0].message.tool_calls is not None
    assert got.choices[0].message.tool_calls[0].to_dict() == call
    assert upstream.requests[0].body["tools"] == tools
    assert upstream.requests[0].body["parallel_tool_calls"] is False


async def test_streamed_tool_calls_survive_the_way(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    def piece(**function: str) -> dict[str, Any]:
        return stream_event(
            [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function}]}, "finish_reason": None}]
        )

    end = stream_event([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    upstream.will(stream(piece(name="weather"), piece(arguments='{"ci'), piece(arguments='ty":1}'), end))

    async with (
        proxy.sdk(await proxy.user_key("ana", energy=25)) as client,
        client.chat.completions.stream(model="gpt-4o", messages=HELLO) as events,
    ):
        final = await events.get_final_completion()

    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city":1}')


class Person(BaseModel):
    name: str
    age: int


async def test_parse_gives_the_typed_value(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(completion('{"name":"Ana","age":30}')))

    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        got = await client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Person)

    assert got.choices[0].message.parsed == Person(name="Ana", age=30)
    assert upstream.requests[0].body["response_format"]["type"] == "json_schema"


async def test_two_choices_cost_one_price(proxy: RunningProxy) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, n=2)

    assert [choice.index for choice in raw.parse().choices] == [0, 1]
    assert raw.headers["x-orch-energy-charged"] == "10"


async def test_image_parts_logprobs_and_unknown_fields_go_both_ways(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    body = completion()
    body["choices"][0]["logprobs"] = {
        "content": [{"token": "Hello", "logprob": -0.25, "bytes": [72], "top_logprobs": []}]
    }
    upstream.will(answer({**body, "brand_new": {"field": [1, 2]}}))
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            ],
        }
    ]

    async with proxy.sdk(await proxy.user_key("ana", energy=25)) as client:
        got = await client.chat.completions.create(
            model="gpt-4o", messages=messages, logprobs=True, extra_body={"not_yet_invented": {"a": None}}
        )

    assert upstream.requests[0].body["messages"] == messages
    assert upstream.requests[0].body["not_yet_invented"] == {"a": None}
    assert got.choices[0].logprobs is not None
    assert got.model_extra == {"brand_new": {"field": [1, 2]}}


async def test_our_own_fields_never_reach_the_provider(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    async with proxy.sdk(await proxy.service_key()) as client:
        await client.chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            user="ben",
            metadata={"action": "ai_scan", "workspace_id": "w", "prospect_id": "p", "theirs": "kept"},
        )

    assert upstream.requests[0].body["metadata"] == {"theirs": "kept"}
    row = await proxy.parts.store.call(upstream.requests[0].call_id or "")
    assert row is not None
    assert (row["action"], row["workspace"], row["prospect"], row["points_charged"]) == ("ai_scan", "w", "p", 15)


async def test_embeddings_are_answered_and_cost_nothing_unless_priced(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=0)) as client:
        raw = await client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=["a", "b"])

    assert [len(one.embedding) for one in raw.parse().data] == [3, 3]
    assert upstream.requests[0].body["encoding_format"] == "base64"
    assert raw.headers["x-orch-energy-charged"] == "0"


async def test_models_are_listed_and_found(proxy: RunningProxy) -> None:
    async with proxy.sdk(await proxy.user_key("ana")) as client:
        assert {model.id async for model in client.models.list()} == {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}
        assert (await client.models.retrieve("gpt-4o")).owned_by == "openai"
        with pytest.raises(openai.NotFoundError, match="nope"):
            await client.models.retrieve("nope")


async def test_a_low_balance_is_downgraded_and_an_empty_one_refused_without_a_retry(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=5)) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        assert raw.headers["x-orch-model"] == "gpt-4o-mini"
        assert raw.headers["x-orch-downgraded-from"] == "gpt-4o"
        assert raw.headers["x-orch-energy-remaining"] == "2"
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert "Insufficient energy. Required: 3, Available: 2" in str(refused.value)
    assert refused.value.code == "insufficient_energy"
    assert len(upstream.requests) == 1
    assert await _rows(proxy) == 2  # the refusal once: the SDK did not try again


@pytest.mark.parametrize(
    "off", [{"extra_headers": {"x-orch-auto-downgrade": "off"}}, {"metadata": {"auto_select_model": "false"}}]
)
async def test_the_downgrade_can_be_switched_off_for_a_call(proxy: RunningProxy, off: dict[str, Any]) -> None:
    async with proxy.sdk(await proxy.user_key("ana", energy=5)) as client:
        with pytest.raises(openai.RateLimitError, match="Required: 10, Available: 5"):
            await client.chat.completions.create(model="gpt-4o", messages=HELLO, **off)


async def test_errors_arrive_as_the_sdks_own_classes(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=1000)
    async with proxy.sdk(key, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="gpt-4o") as unknown:
            await client.chat.completions.create(model="gpt-5o", messages=HELLO)
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="gpt-4o", messages=[])
        upstream.will(error(400, "bad schema", code="invalid_schema"))
        with pytest.raises(openai.BadRequestError, match="bad schema") as rejected:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert rejected.value.code == "invalid_schema"
        upstream.always(error(500))
        with pytest.raises(openai.InternalServerError, match="OpenAI API error: 500"):
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    async with proxy.sdk("sk-orch-wrong_key") as stranger:
        with pytest.raises(openai.AuthenticationError, match="User not authenticated"):
            await stranger.chat.completions.create(model="gpt-4o", messages=HELLO)


async def test_what_the_proxy_retried_the_sdk_does_not_multiply(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.always(error(500))

    async with proxy.sdk(await proxy.user_key("ana", energy=100)) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)

    assert len(upstream.requests) == 3
    balance = await proxy.parts.store.balance("app/ana")
    assert balance is not None
    assert (balance.balance, balance.held) == (100, 0)


async def test_the_synchronous_sdk_works_too(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana", energy=25)

    def ask() -> str | None:
        with OpenAI(base_url=proxy.base_url, api_key=key) as client:
            pieces = client.chat.completions.create(model="smart", messages=HELLO, stream=True)
            return "".join(piece.choices[0].delta.content or "" for piece in pieces)

    assert await asyncio.to_thread(ask) == "Hello there"


async def test_a_caller_reads_its_own_call_and_its_energy(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana", energy=25)
    async with proxy.sdk(key) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        call = await client.get(f"/calls/{raw.headers['x-request-id']}", cast_to=dict[str, Any])
        energy = await client.get("/energy", cast_to=dict[str, Any])
    assert (call["model"], call["energy"]["charged"], call["cost_usd"]) == ("gpt-4o", 10, "0.0001")
    assert call["attempts"][0]["status"] == 200
    assert (energy["available"], energy["held"], energy["plan"]) == (15, 0, "free")
    async with proxy.sdk(await proxy.user_key("ben")) as other:
        with pytest.raises(openai.NotFoundError):
            await other.get(f"/calls/{raw.headers['x-request-id']}", cast_to=dict[str, Any])


async def _rows(proxy: RunningProxy) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{proxy.database}?mode=ro", uri=True)) as reader:
        return int(reader.execute("SELECT count(*) FROM calls").fetchone()[0])
