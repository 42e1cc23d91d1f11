"""Rights: both the key and the chain's auth must allow a model or an action."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Principal, Role
from proxy.errors import Forbidden
from proxy.policy.rights import may_use, require_action, require_model
from proxy.testing import fake_call


def key(role: Role = Role.USER, **rights: Any) -> Principal:
    return Principal(key_id="k", role=role, namespace="n", **rights)


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        ({}, True),
        ({"models": frozenset({"gpt-4o"})}, True),
        ({"models": frozenset({"gpt-*"})}, True),
        ({"models": frozenset({"claude-*"})}, False),
        ({"models": frozenset()}, False),
        ({"within_models": frozenset({"claude-*"})}, False),
        ({"models": frozenset({"gpt-*"}), "within_models": frozenset({"*-mini"})}, False),
        ({"models": frozenset({"gpt-*"}), "within_models": frozenset({"*4o"})}, True),
    ],
)
def test_key_and_chain_must_both_allow_a_model(rights: dict[str, Any], allowed: bool) -> None:
    assert may_use(key(**rights), "gpt-4o") is allowed


def test_an_alias_that_the_key_may_name_gives_the_model_behind_it() -> None:
    call = replace(fake_call("gpt-4o"), requested_model="smart", principal=key(models=frozenset({"smart"})))
    require_model(call)
    with pytest.raises(Forbidden):
        require_model(replace(call, requested_model="clever"))


def test_a_model_refused_is_named_with_those_allowed() -> None:
    call = replace(fake_call("gpt-4o"), principal=key(models=frozenset({"b-*", "a"})))
    with pytest.raises(Forbidden, match=r"may not use the model 'gpt-4o'; it may use: a, b-\*"):
        require_model(call)


@pytest.mark.parametrize(
    ("principal", "action", "allowed"),
    [
        (key(), "ai_message", True),
        (key(), "ai_scan", False),  # a user key that names no actions has the default only
        (key(Role.SERVICE), "ai_scan", True),
        (key(actions=frozenset({"ai_scan"})), "ai_scan", True),
        (key(actions=frozenset({"ai_scan"})), "ai_message", False),
        (key(actions=frozenset({"ai_*"})), "ai_message", True),
        (key(Role.SERVICE, within_actions=frozenset({"ai_scan"})), "ai_message", False),
        (key(within_actions=frozenset({"ai_scan"})), "ai_scan", False),  # the chain widens nothing
    ],
)
def test_who_may_use_which_action(principal: Principal, action: str, allowed: bool) -> None:
    if allowed:
        require_action(principal, action, default="ai_message")
        return
    with pytest.raises(Forbidden, match=f"may not use the action '{action}'"):
        require_action(principal, action, default="ai_message")
