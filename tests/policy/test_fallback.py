"""Fallback hands over candidates and asks nobody itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.call import Operation
from proxy.chain import chain
from proxy.policy.fallback import Fallback
from proxy.testing import fake_call, fake_model, fake_ports
from tests.policy.policy_parts import End, models

PORTS = fake_ports(
    fake_model("gpt-4o"),
    fake_model("claude"),
    fake_model("gpt-4o-mini"),
    fake_model("blind", lacks=frozenset({"tools"})),
)


def fallback(**settings: Any) -> Fallback:
    return Fallback.model_validate({"kind": "fallback", **settings})


async def candidates(policy: Fallback, model: str = "gpt-4o", **changes: Any) -> tuple[str, ...]:
    end = End()
    await chain([policy], end)(fake_call(model, ports=PORTS, **changes))
    assert end.asked == [model]
    return end.calls[0].candidates


async def test_the_asked_model_comes_first_then_its_list_in_order() -> None:
    policy = fallback(to={"gpt-4o": ["claude", "gpt-4o-mini"]})
    assert await candidates(policy) == ("gpt-4o", "claude", "gpt-4o-mini")


async def test_a_model_without_a_list_has_the_default_one_less_itself() -> None:
    policy = fallback(to={"gpt-4o": ["claude"]}, default=["gpt-4o-mini", "gpt-4o"])
    assert await candidates(policy, "claude") == ("claude", "gpt-4o-mini", "gpt-4o")
    assert await candidates(policy, "gpt-4o-mini") == ("gpt-4o-mini", "gpt-4o")
    assert await candidates(policy) == ("gpt-4o", "claude")


async def test_an_empty_list_means_none() -> None:
    assert await candidates(fallback(to={"gpt-4o": []}, default=["claude"])) == ("gpt-4o",)


async def test_a_list_is_not_followed_further() -> None:
    policy = fallback(to={"gpt-4o": ["claude"], "claude": ["gpt-4o", "gpt-4o-mini"]})
    assert list(policy.problems(PORTS.routes.models)) == []
    assert await candidates(policy) == ("gpt-4o", "claude")


async def test_models_that_lack_what_is_needed_are_skipped() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function"}]}
    assert await candidates(fallback(default=["blind", "claude"]), body=body) == ("gpt-4o", "claude")


async def test_models_the_key_may_not_use_are_skipped() -> None:
    principal = replace(fake_call().principal, within_models=frozenset({"gpt-*"}))
    policy = fallback(default=["claude", "gpt-4o-mini"])
    assert await candidates(policy, principal=principal) == ("gpt-4o", "gpt-4o-mini")


async def test_embeddings_never_change_model() -> None:
    body = {"model": "gpt-4o", "input": "Hi"}
    found = await candidates(fallback(default=["claude"]), body=body, operation=Operation.EMBEDDINGS)
    assert found == ("gpt-4o",)


async def test_a_downgraded_call_has_the_list_of_the_model_it_is_on() -> None:
    policy = fallback(to={"gpt-4o": ["claude"], "gpt-4o-mini": ["gpt-4o"]})
    assert await candidates(policy, "gpt-4o-mini", requested_model="gpt-4o") == ("gpt-4o-mini", "gpt-4o")


@pytest.mark.parametrize(
    ("settings", "spot", "words"),
    [
        ({"to": {"gpt-4p": ["claude"]}}, ("to", "gpt-4p"), "no model named 'gpt-4p'; did you mean 'gpt-4o'?"),
        ({"to": {"gpt-4o": ["claud"]}}, ("to", "gpt-4o", 0), "no model named 'claud'; did you mean 'claude'?"),
        ({"to": {"gpt-4o": ["claude", "gpt-4o"]}}, ("to", "gpt-4o", 1), "'gpt-4o' cannot stand in for itself"),
        ({"to": {"gpt-4o": ["claude", "claude"]}}, ("to", "gpt-4o", 1), "'claude' is on this list already"),
        ({"default": ["claude", "nobody"]}, ("default", 1), "no model named 'nobody'"),
        ({"default": ["embed"]}, ("default", 0), "'embed' does not answer chat calls"),
    ],
)
def test_what_cannot_be_is_told_at_load(settings: dict[str, Any], spot: tuple[Any, ...], words: str) -> None:
    known = models("gpt-4o", "claude")
    known["embed"] = fake_model("embed", operation=Operation.EMBEDDINGS)
    ((found_spot, message),) = fallback(**settings).problems(known)
    assert found_spot == spot
    assert message.startswith(words)


def test_a_list_longer_than_the_calls_that_are_made_is_refused() -> None:
    with pytest.raises(ValidationError):
        fallback(default=[f"m{number}" for number in range(8)])
