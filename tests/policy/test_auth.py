"""Auth narrows what a key may do; what it leaves is judged where model and action are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.call import Call, Operation, Role
from proxy.chain import chain
from proxy.errors import Forbidden
from proxy.policy.auth import Auth
from proxy.testing import fake_call
from tests.policy.policy_parts import End


def auth(**settings: Any) -> Auth:
    return Auth.model_validate({"kind": "auth", **settings})


def with_key(call: Call, **rights: Any) -> Call:
    return replace(call, principal=replace(call.principal, **rights))


async def refusal(policy: Auth, call: Call) -> str:
    end = End()
    with pytest.raises(Forbidden) as caught:
        await chain([policy], end)(call)
    assert end.calls == []
    return caught.value.message


async def test_a_key_that_is_not_narrowed_passes() -> None:
    end = End()
    call = fake_call()
    await chain([auth()], end)(call)
    assert end.calls == [call]


async def test_an_admin_key_makes_no_calls() -> None:
    assert "admin key" in await refusal(auth(), with_key(fake_call(), role=Role.ADMIN))


async def test_a_key_for_embeddings_makes_no_chat_calls() -> None:
    message = await refusal(auth(), with_key(fake_call(), operations=frozenset({"embeddings"})))
    assert message == "This key may not make chat calls; it may make: embeddings."


async def test_the_chain_can_take_some_operations_only() -> None:
    message = await refusal(auth(operations=["chat"]), fake_call(operation=Operation.EMBEDDINGS))
    assert message == "This key may not make embeddings calls; it may make: chat."


async def test_the_chain_can_take_service_keys_only() -> None:
    assert "allowed: service" in await refusal(auth(roles=["service"]), fake_call())
    end = End()
    await chain([auth(roles=["service"])], end)(with_key(fake_call(), role=Role.SERVICE))
    assert len(end.calls) == 1


async def test_what_the_chain_leaves_of_models_and_actions_goes_on_with_the_call() -> None:
    end = End()
    own = frozenset({"gpt-*"})
    await chain([auth(models=["gpt-4o"], actions=["ai_scan"])], end)(with_key(fake_call(), models=own))
    principal = end.calls[0].principal
    assert principal.models == own
    assert principal.within_models == frozenset({"gpt-4o"})
    assert principal.within_actions == frozenset({"ai_scan"})


@pytest.mark.parametrize(
    "settings",
    [{"roles": ["admin"]}, {"operations": ["images"]}, {"operations": ["unknown"]}, {"models": []}, {"model": ["x"]}],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        auth(**settings)
