"""The mock provider."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from proxy.call import Operation
from proxy.config.settings import Limits
from proxy.dialect.sse import payload
from proxy.errors import UpstreamRejected
from proxy.testing import fake_call
from proxy.upstream.mock import DIMENSIONS, MockUpstream
from proxy.upstream.port import UpstreamRequest
from proxy.upstream.terminal import Terminal

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "clock"}},
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
]


async def taken(operation: Operation = Operation.CHAT, call_id: str = "c1", **body: Any) -> list[bytes]:
    received: list[bytes] = []

    async def take(raw: bytes) -> None:
        received.append(raw)

    asked = {"messages": [{"role": "user", "content": "Good morning"}], **body}
    stream = bool(body.get("stream"))
    request = UpstreamRequest(call_id=call_id, operation=operation, model="mock-large", body=asked, stream=stream)
    await MockUpstream().send(request, take)
    return received


async def chat(**body: Any) -> dict[str, Any]:
    (raw,) = await taken(**body)
    answer: dict[str, Any] = json.loads(raw)
    return answer


async def events(**body: Any) -> list[dict[str, Any]]:
    payloads = [payload(raw) for raw in await taken(stream=True, **body)]
    assert payloads[-1] == b"[DONE]"
    return [json.loads(sent) for sent in payloads[:-1] if sent is not None]


async def vectors(**body: Any) -> list[Any]:
    (raw,) = await taken(Operation.EMBEDDINGS, **body)
    return [item["embedding"] for item in json.loads(raw)["data"]]


async def test_a_chat_names_the_model_and_echoes_what_was_asked() -> None:
    answer = await chat()
    (choice,) = answer["choices"]
    assert "mock-large" in choice["message"]["content"]
    assert choice["message"]["content"].endswith("Good morning")
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == len(choice["message"]["content"].split())


async def test_the_same_question_has_the_same_answer_and_each_call_its_own_id() -> None:
    first, again, other = await taken(), await taken(), await taken(call_id="c2")
    assert first == again
    assert json.loads(first[0])["id"] != json.loads(other[0])["id"]
    assert await vectors(input="x") == await vectors(input="x")


async def test_a_stream_says_word_by_word_what_the_whole_answer_says() -> None:
    whole = (await chat())["choices"][0]["message"]["content"]
    deltas = [event["choices"][0]["delta"] for event in await events()]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == whole
    assert len(deltas) == len(whole.split()) + 2


async def test_a_stream_counts_its_usage_when_asked() -> None:
    last = (await events(stream_options={"include_usage": True}))[-1]
    assert (last["choices"], last["usage"]) == ([], (await chat())["usage"])
    assert all("usage" not in event for event in await events())


async def test_n_choices_are_answered_each_with_its_finish_reason() -> None:
    assert [choice["index"] for choice in (await chat(n=3))["choices"]] == [0, 1, 2]
    finished = [event["choices"][0] for event in await events(n=2) if event["choices"][0]["finish_reason"]]
    assert [choice["index"] for choice in finished] == [0, 1]
    assert len((await chat(n=10**9))["choices"]) == 128


async def test_an_answer_stops_at_the_cap_the_client_set() -> None:
    (choice,) = (await chat(max_tokens=2))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("This is", "length")
    (choice,) = (await chat(max_completion_tokens=1, max_tokens=5))["choices"]
    assert choice["message"]["content"] == "This"


@pytest.mark.parametrize(
    ("choice", "name", "arguments"),
    [
        ("required", "clock", {}),
        ({"type": "function", "function": {"name": "weather"}}, "weather", {"city": "", "days": 1}),
    ],
)
async def test_a_tool_that_must_be_called_is_called(choice: Any, name: str, arguments: dict[str, Any]) -> None:
    (answered,) = (await chat(tools=TOOLS, tool_choice=choice))["choices"]
    (call,) = answered["message"]["tool_calls"]
    assert answered["finish_reason"] == "tool_calls"
    assert answered["message"]["content"] is None
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (name, arguments)
    first, last = (event["choices"][0] for event in await events(tools=TOOLS, tool_choice=choice))
    assert first["delta"]["tool_calls"] == [{**call, "index": 0}]
    assert last["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("choice", ["auto", "none", None])
async def test_a_tool_that_may_be_called_is_not(choice: str | None) -> None:
    (answered,) = (await chat(tools=TOOLS, tool_choice=choice))["choices"]
    assert "tool_calls" not in answered["message"]


async def test_an_answer_fits_the_schema_that_was_asked_for() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    (choice,) = (await chat(response_format=format_))["choices"]
    assert json.loads(choice["message"]["content"]) == {"city": "", "days": 1}
    (choice,) = (await chat(response_format={"type": "json_object"}))["choices"]
    assert json.loads(choice["message"]["content"])["echo"] == "Good morning"


@pytest.mark.parametrize(
    ("messages", "echo"),
    [
        ([{"role": "user", "content": "first"}, {"role": "assistant", "content": "no"}], "first"),
        ([{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url"}]}], "look"),
        ([{"role": "user", "content": "x" * 500}], "x" * 80 + "…"),
        ([{"role": "user", "content": "half \ud800 a pair"}], "half \ud800 a pair"),
        ([{"role": "system", "content": "only"}], ""),
        ([], ""),
        ("junk", ""),
        ([7, {"role": "user", "content": 7}], ""),
    ],
)
async def test_whatever_the_messages_are_there_is_an_answer(messages: Any, echo: str) -> None:
    (choice,) = (await chat(messages=messages))["choices"]
    assert choice["message"]["content"].endswith(f"You said: {echo}")


async def test_embeddings_are_unit_vectors_of_the_size_asked_for() -> None:
    one, two = await vectors(input=["a", "b"])
    assert len(one) == DIMENSIONS
    assert one != two
    assert math.isclose(sum(number * number for number in one), 1, rel_tol=1e-5)
    assert [len(vector) for vector in await vectors(input=[[1, 2], [3]], dimensions=8)] == [8, 8]
    assert len(await vectors(input=[1, 2, 3])) == 1


async def test_base64_embeddings_are_the_same_numbers() -> None:
    (encoded,) = await vectors(input="a", encoding_format="base64", dimensions=16)
    (plain,) = await vectors(input="a", dimensions=16)
    assert list(struct.unpack("<16f", base64.b64decode(encoded))) == plain


@pytest.mark.parametrize("dimensions", [-1, 10**9, "many"])
async def test_a_size_that_cannot_be_is_rejected_in_the_providers_words(dimensions: object) -> None:
    with pytest.raises(UpstreamRejected) as failed:
        await vectors(input="a", dimensions=dimensions)
    assert failed.value.detail is not None
    assert failed.value.detail["param"] == "dimensions"


@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, {"stream": True, "n": 2}, {"tools": TOOLS, "tool_choice": "required"}]
)
async def test_the_terminal_handler_takes_all_of_it_for_an_answer(more: dict[str, Any]) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], **more}
    outcome = await Terminal({"fake": MockUpstream()}, Limits())(fake_call(body=body))
    assert not outcome.usage.estimated
    assert len(outcome.finish_reasons) == more.get("n", 1)
