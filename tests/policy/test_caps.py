"""Caps: a call too large for its action's price is refused, and an open end is closed."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Call, Operation
from proxy.errors import BadRequest
from proxy.policy.caps import within_caps
from proxy.policy.prices import Action
from proxy.testing import fake_call, fake_model, fake_ports

MESSAGES = [{"role": "user", "content": "x" * 400}]


def asking(model: str = "gpt-4o", **fields: Any) -> Call:
    ports = fake_ports(fake_model("gpt-4o"), fake_model("o3"), fake_model("embed", operation=Operation.EMBEDDINGS))
    return fake_call(model, {"model": model, "messages": MESSAGES, **fields}, ports=ports)


def caps(**fields: int) -> Action:
    return Action.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "limits", "param", "words"),
    [
        ({"n": 2}, {}, "n", "n is 2; the action 'ai_scan' allows at most 1 (n_max)"),
        ({}, {"input_tokens_max": 50}, "messages", "allows at most 50 (input_tokens_max)"),
        ({"max_tokens": 101}, {"output_tokens_max": 100}, "max_tokens", "max_tokens is 101"),
        (
            {"max_tokens": 5, "max_completion_tokens": 101},
            {"output_tokens_max": 100},
            "max_completion_tokens",
            "allows at most 100 (output_tokens_max)",
        ),
    ],
)
def test_a_call_over_a_cap_is_refused_by_its_name(
    fields: dict[str, Any], limits: dict[str, int], param: str, words: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        within_caps(asking(**fields), "ai_scan", caps(**limits))
    assert words in caught.value.message
    assert caught.value.param == param


@pytest.mark.parametrize("fields", [{"n": 4}, {"n": 1}, {"n": None}, {}, {"max_tokens": 100}])
def test_a_call_within_its_caps_goes_out_as_it_came(fields: dict[str, Any]) -> None:
    call = asking(**fields)
    limit = caps(n_max=4, input_tokens_max=1_000, **({"output_tokens_max": 100} if "max_tokens" in fields else {}))
    assert within_caps(call, "ai_scan", limit) is call


@pytest.mark.parametrize(("model", "name"), [("gpt-4o", "max_tokens"), ("o3", "max_completion_tokens")])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": None}])
def test_an_open_end_is_closed_in_the_models_own_words(model: str, name: str, fields: dict[str, Any]) -> None:
    call = asking(model, **fields)
    sent = within_caps(call, "ai_scan", caps(output_tokens_max=100)).body
    assert sent[name] == 100
    assert name not in call.body or call.body[name] is None  # what the client sent is not written to


def test_embeddings_have_an_input_only() -> None:
    body = {"model": "embed", "input": "x" * 400}
    call = fake_call("embed", body, operation=Operation.EMBEDDINGS)
    assert within_caps(call, "embedding", caps(output_tokens_max=10)) is call
    with pytest.raises(BadRequest) as caught:
        within_caps(call, "embedding", caps(input_tokens_max=50))
    assert caught.value.param == "input"
