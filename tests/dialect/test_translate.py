"""Translation: a request that is moved to another model is one that model accepts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from proxy.call import Deployment, Model
from proxy.dialect.translate import translate

MESSAGES = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def model(name: str, *, provider: str = "openai", at: str | None = None, output_tokens_max: int | None = None) -> Model:
    deployment = Deployment(upstream="u", provider=provider, model=at or name)
    return Model(name=name, deployments=(deployment,), output_tokens_max=output_tokens_max)


def moved(to: str | Model, **fields: Any) -> dict[str, Any]:
    """The fields after the move."""
    target = to if isinstance(to, Model) else model(to)
    translated = translate({"model": "asked", "messages": [], **fields}, model=target)
    assert translated.pop("model") == "asked"
    assert translated.pop("messages") == []
    return translated


REASONING = [
    "o1",
    "o3-mini",
    "o4-mini-2025-04-16",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5.2",
    "gpt-6-sol",
    "openai/gpt-5",
    "ft:o4-mini:x",
]
CLASSIC = ["gpt-4o", "gpt-4.1-mini", "chatgpt-4o-latest", "gpt-3.5-turbo", "claude-sonnet-4", "llama-3.3-70b", "o1x"]


@pytest.mark.parametrize("name", REASONING)
def test_a_model_that_reasons_gets_its_own_cap_and_no_sampling(name: str) -> None:
    sampling = {"temperature": 0.2, "top_p": 0.9, "presence_penalty": 1, "logprobs": True, "logit_bias": {}}

    assert moved(name, max_tokens=100, seed=7, **sampling) == {"max_completion_tokens": 100, "seed": 7}


@pytest.mark.parametrize("name", CLASSIC)
def test_a_model_that_does_not_reason_gets_the_classic_cap_and_no_reasoning(name: str) -> None:
    fields = {"reasoning_effort": "high", "verbosity": "low", "max_completion_tokens": 100}

    assert moved(name, temperature=0.2, stop=["x"], **fields) == {"temperature": 0.2, "stop": ["x"], "max_tokens": 100}


@pytest.mark.parametrize(("name", "kept"), [("o1", True), ("o3", False), ("gpt-5", False), ("gpt-4o", True)])
def test_stop_is_left_out_where_it_is_refused(name: str, kept: object) -> None:
    assert ("stop" in moved(name, stop="x")) is kept


def test_gpt_5_chat_takes_the_new_cap_and_sampling_but_does_not_reason() -> None:
    fields = {"max_tokens": 9, "temperature": 0, "reasoning_effort": "low"}

    assert moved("gpt-5-chat-latest", **fields) == {"max_completion_tokens": 9, "temperature": 0}


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [
        ("o3", "low", "low"),
        ("o3", "minimal", "low"),
        ("o3", "none", "low"),
        ("o3", "xhigh", "high"),
        ("gpt-5", "minimal", "minimal"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5.1", "none", "none"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5.4", "xhigh", "xhigh"),
        ("gpt-5.2-chat-latest", "high", "medium"),
        ("gpt-6-astra", "none", "low"),
        ("gpt-5", "some_new_word", "some_new_word"),
    ],
)
def test_reasoning_effort_becomes_the_nearest_that_the_model_knows(name: str, asked: str, given: str) -> None:
    assert moved(name, reasoning_effort=asked) == {"reasoning_effort": given}


def test_a_cap_is_never_above_what_the_model_can() -> None:
    small = model("gpt-4o", output_tokens_max=4096)

    assert moved(small, max_tokens=10_000) == {"max_tokens": 4096}
    assert moved(small, max_completion_tokens=100) == {"max_tokens": 100}
    assert moved(small) == {}
    assert moved("gpt-4o", max_tokens=10_000) == {"max_tokens": 10_000}


def test_of_two_caps_the_smaller_is_kept() -> None:
    assert moved("gpt-4o", max_tokens=100, max_completion_tokens=50) == {"max_tokens": 50}
    assert moved("gpt-5", max_tokens=None, max_completion_tokens=50) == {"max_completion_tokens": 50}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("gpt-4o", "developer"),
        ("o3", "developer"),
        ("gpt-5", "developer"),
        ("gpt-4-turbo", "system"),
        ("llama3", "system"),
    ],
)
def test_developer_messages_become_system_where_nobody_knows_them(name: str, role: str) -> None:
    translated = translate({"model": "m", "messages": MESSAGES}, model=model(name))

    assert translated["messages"] == [{"role": role, "content": "Be brief."}, MESSAGES[1]]


def test_the_name_at_the_upstream_decides_not_the_name_clients_use() -> None:
    assert moved(model("gpt-5", at="llama3"), max_tokens=5) == {"max_tokens": 5}
    assert moved(model("fast", at="gpt-5-nano"), max_tokens=5) == {"max_completion_tokens": 5}
    assert moved(model("gpt-5", provider="azure", at="our-deployment"), max_tokens=5) == {"max_completion_tokens": 5}


def test_what_only_openai_knows_is_not_sent_elsewhere() -> None:
    fields = {"service_tier": "flex", "store": True, "prompt_cache_key": "k"}

    assert moved("mistral-large", provider_field=1, **fields) == {"provider_field": 1}
    assert moved("gpt-4o", **fields) == fields


def test_the_body_is_never_changed_and_what_is_unknown_is_kept() -> None:
    body = {
        "model": "m",
        "messages": MESSAGES,
        "max_tokens": 5,
        "temperature": 0,
        "tools": [1],
        "some_new_field": {"a": 1},
    }
    before = deepcopy(body)

    for name in (*REASONING, *CLASSIC):
        translated = translate(body, model=model(name, output_tokens_max=3))
        assert translated["some_new_field"] == {"a": 1}
        assert translated["tools"] == [1]

    assert body == before


def test_a_model_without_deployments_goes_by_its_name() -> None:
    assert translate({"max_tokens": 5}, model=Model(name="gpt-5", deployments=())) == {"max_completion_tokens": 5}
