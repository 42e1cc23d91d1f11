"""What of a client's request reaches a provider: OpenAI's parameters, and nothing that is LiteLLM's own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Operation
from proxy.config.settings import Limits, UpstreamSettings
from proxy.errors import UpstreamRejected
from proxy.testing import ScriptedUpstream
from proxy.upstream.litellm import LitellmUpstream
from proxy.upstream.litellm_request import OUTPUT_TOKENS_DEFAULT, fitted, openai_arguments, with_output_cap
from tests.upstream import fake_anthropic as anthropic
from tests.upstream import fake_gemini as gemini
from tests.upstream.litellm_route import OPENAI_KEY, QUIET, WEATHER, answered, chat, sent, through

pytestmark = pytest.mark.filterwarnings(*QUIET)

LITELLM_ARGUMENTS: dict[str, Any] = {
    "api_base": "http://127.0.0.1:9/evil",
    "base_url": "http://127.0.0.1:9/evil",
    "api_key": "sk-of-the-client",
    "api_version": "1",
    "custom_llm_provider": "openai",
    "organization": "o",
    "headers": {"x-evil": "1"},
    "extra_headers": {"x-evil": "1"},
    "extra_body": {"evil": 1},
    "model_list": [{"model_name": "evil"}],
    "fallbacks": ["evil"],
    "num_retries": 5,
    "max_retries": 5,
    "timeout": 0.001,
    "mock_response": "evil",
    "metadata": {"evil": 1},
    "litellm_params": {"evil": 1},
    "litellm_logging_obj": "evil",
    "logger_fn": "evil",
    "input_cost_per_token": 1,
    "cache": {"evil": 1},
    "callbacks": ["evil"],
    "vertex_project": "evil",
    "aws_access_key_id": "evil",
    "azure_ad_token": "evil",
    "drop_params": True,
    "additional_drop_params": ["messages"],
    "allowed_openai_params": ["evil"],
    "stream_timeout": 0.001,
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "an_unknown_one": 1,
}


@pytest.mark.parametrize("provider", ["anthropic", "openai", "hosted_vllm"])
async def test_litellms_own_arguments_do_not_come_from_a_client(provider: str) -> None:
    async with anthropic.FakeAnthropic() if provider == "anthropic" else ScriptedUpstream() as server:
        key = anthropic.KEY if provider == "anthropic" else OPENAI_KEY
        async with through(server, provider, key) as upstream:
            body = await answered(upstream, chat(anthropic.MODEL, max_tokens=9, **LITELLM_ARGUMENTS))
    assert body["choices"][0]["message"]["content"].startswith("Hello")
    (request,) = server.requests
    assert request.body.keys() == {"model", "messages", "max_tokens"}
    assert "evil" not in str(request.headers)
    assert key in (request.headers.get("x-api-key", ""), request.headers.get("authorization", "")[7:])


async def test_a_clients_messages_and_tools_are_not_written_to() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        request = chat(
            gemini.MODEL,
            tools=[WEATHER],
            messages=[{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}],
        )
        before = str(request.body)
        await sent(upstream, request)
    assert str(request.body) == before
    assert "additionalProperties" in before


@pytest.mark.parametrize(("name", "value"), [("n", 2), ("logprobs", True), ("modalities", ["audio"])])
async def test_what_a_provider_cannot_do_is_refused_by_name_and_not_lost(name: str, value: Any) -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        with pytest.raises(UpstreamRejected, match=f"'{name}'") as caught:
            await sent(upstream, chat(anthropic.MODEL, **{name: value}))
    assert caught.value.status == 400
    assert caught.value.detail is not None
    assert caught.value.detail["param"] == name
    assert server.requests == []


async def test_what_makes_no_difference_is_left_out_quietly() -> None:
    async with anthropic.FakeAnthropic() as server, through(server, "anthropic", anthropic.KEY) as upstream:
        neutral: dict[str, Any] = {
            "n": 1,
            "logprobs": False,
            "seed": 3,
            "store": True,
            "response_format": {"type": "text"},
            "stop": None,
        }
        await sent(upstream, chat(anthropic.MODEL, max_tokens=9, **neutral))
    assert server.requests[0].body.keys() == {"model", "messages", "max_tokens"}


async def test_headers_of_the_operator_go_out_with_the_key() -> None:
    async with anthropic.FakeAnthropic() as server:
        written = {
            "provider": "anthropic",
            "base_url": server.base_url,
            "api_key": anthropic.KEY,
            "headers": {"x-team": "blue"},
        }
        upstream = LitellmUpstream("claude", UpstreamSettings.model_validate(written), Limits.model_validate({}))
        await sent(upstream, chat(anthropic.MODEL))
        await upstream.aclose()
    assert server.requests[0].headers["x-team"] == "blue"


async def test_a_server_without_a_key_is_never_sent_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    async with ScriptedUpstream() as server:
        settings = UpstreamSettings.model_validate({"provider": "openai", "base_url": server.base_url})
        upstream = LitellmUpstream("local", settings, Limits.model_validate({}))
        await sent(upstream, chat("m"))
        await upstream.aclose()
    assert "sk-of-the-environment" not in str(server.requests[0].headers)


def test_a_null_is_as_good_as_nothing() -> None:
    assert openai_arguments({"messages": [], "stop": None, "seed": 0}, Operation.CHAT) == {"messages": [], "seed": 0}


def test_the_arguments_are_a_copy_all_the_way_down() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}]}  # a lone surrogate too
    copied = openai_arguments(body, Operation.CHAT)
    assert copied == body
    copied["messages"][0]["content"][0]["text"] = "changed"
    assert body["messages"][0]["content"][0] == {"type": "text", "text": "\ud83d"}


def test_embeddings_are_asked_for_as_floats() -> None:
    body = {"input": "a", "encoding_format": "base64", "dimensions": 3, "model": "m", "messages": []}
    assert openai_arguments(body, Operation.EMBEDDINGS) == {"input": "a", "dimensions": 3}


def test_messages_are_never_taken_for_a_parameter_that_is_not_supported() -> None:
    assert fitted({"messages": [], "top_p": 1, "seed": 3}, {"top_p"}, "anthropic") == {"messages": [], "top_p": 1}


@pytest.mark.parametrize(
    ("limit", "cap"),
    [(4096, 4096), (64_000, OUTPUT_TOKENS_DEFAULT), (None, OUTPUT_TOKENS_DEFAULT), ("?", OUTPUT_TOKENS_DEFAULT)],
)
def test_the_default_cap_on_output_is_at_most_the_models_limit(limit: object, cap: int) -> None:
    assert with_output_cap({}, limit) == {"max_tokens": cap}
