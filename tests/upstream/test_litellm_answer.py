"""LiteLLM's objects as OpenAI's JSON, where a provider would be hard to bring to say it."""

from __future__ import annotations

import json
from types import SimpleNamespace as Made
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from proxy.upstream.litellm_answer import Events, completion_json, embeddings_json, usage_of


class Logprobs(BaseModel):
    model_config = ConfigDict(extra="allow")
    content: list[dict[str, Any]] | None = None


def whole(message: Any, *, reason: object = "stop", **more: Any) -> Any:
    choice = Made(index=0, message=message, finish_reason=reason, logprobs=more.pop("logprobs", None))
    answer = Made(id="x", created=1_800_000_000, choices=[choice], **more)
    return json.loads(completion_json(answer, "m"))


def chunk(delta: Any, *, reason: object = None) -> Any:
    choice = Made(index=0, delta=delta, finish_reason=reason)
    return Made(id="x", created=1_800_000_000, choices=[choice])


@pytest.mark.parametrize("reason", [None, "", 5])
def test_a_finish_reason_is_null_or_a_word(reason: object) -> None:
    assert whole(Made(content="a"), reason=reason)["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("created", [None, 0, 12.5, "now"])
def test_an_implausible_time_is_replaced_by_now(created: object) -> None:
    answer = Made(id="x", created=created, choices=[])
    assert json.loads(completion_json(answer, "m"))["created"] > 1_700_000_000


def test_logprobs_come_out_whole() -> None:
    logprobs = Logprobs(content=[{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}])
    body = whole(Made(content="a"), logprobs=logprobs)
    assert body["choices"][0]["logprobs"]["content"][0] == {
        "token": "a",
        "logprob": -0.5,
        "bytes": None,
        "top_logprobs": [],
    }


def test_an_empty_answer_and_a_refusal_stay_what_they_are() -> None:
    assert whole(Made(content=""))["choices"][0]["message"] == {"role": "assistant", "content": ""}
    refused = whole(Made(content=None, refusal="No."))["choices"][0]["message"]
    assert refused == {"role": "assistant", "content": None, "refusal": "No."}


def test_a_providers_signature_on_a_tool_call_is_kept() -> None:
    signed = {"id": "c", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}
    signed["provider_specific_fields"] = {"thought_signature": "s"}
    (call,) = whole(Made(content=None, tool_calls=[signed]))["choices"][0]["message"]["tool_calls"]
    assert call["provider_specific_fields"] == {"thought_signature": "s"}
    assert "index" not in call


def test_a_chunk_with_nothing_in_it_makes_no_event() -> None:
    events = Events("m")
    assert events.of(chunk(Made(content="", role=None))) is None
    assert events.of(chunk(Made(content="", role="assistant"))) is not None
    assert events.of(chunk(Made(content=None), reason="length")) is not None
    assert events.of(Made(id="x", created=1, choices=[])) is None


def test_counts_that_come_in_parts_are_put_together() -> None:
    events = Events("m")
    events.of(chunk(Made(content="a")))
    events.count([Made(usage=Made(prompt_tokens=30, completion_tokens=1)), Made(usage=None)])
    events.count([Made(usage=Made(prompt_tokens=0, completion_tokens=15))])
    usage = events.usage()
    assert usage is not None
    assert json.loads(usage[6:])["usage"] == {"prompt_tokens": 30, "completion_tokens": 15, "total_tokens": 45}


@pytest.mark.parametrize("usage", [None, Made(), Made(prompt_tokens=0, completion_tokens=0), Made(prompt_tokens=True)])
def test_no_usage_is_made_of_nothing(usage: Any) -> None:
    assert usage_of(Made(usage=usage)) == {}


def test_a_vector_that_is_base64_already_stays_so() -> None:
    answer = Made(data=[{"embedding": "AACAPg=="}])
    assert json.loads(embeddings_json(answer, "m", encoding_format="base64"))["data"][0]["embedding"] == "AACAPg=="
