"""Known: what is asked for exists, does what is asked, and may be used; all before anything is held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.call import Operation
from proxy.chain import chain
from proxy.errors import BadRequest, Forbidden, NotFound
from proxy.policy.known import Known
from proxy.policy.rewrite import Rewrite
from proxy.testing import fake_call, fake_model, fake_ports
from tests.policy.policy_parts import End

PORTS = fake_ports(fake_model("gpt-4o"), fake_model("claude"), fake_model("embed", operation=Operation.EMBEDDINGS))


async def test_an_unknown_model_is_told_with_what_exists() -> None:
    with pytest.raises(NotFound) as caught:
        await chain([Known()], End())(fake_call("gpt-4p", ports=PORTS))
    assert caught.value.reason == "model_not_found"
    assert caught.value.param == "model"
    assert (
        caught.value.message
        == "The model 'gpt-4p' does not exist; did you mean 'gpt-4o'? Available: claude, embed, gpt-4o."
    )


async def test_only_models_the_key_may_use_are_told() -> None:
    call = fake_call("gpt-4p", ports=PORTS)
    call = replace(call, principal=replace(call.principal, models=frozenset({"claude"})))
    with pytest.raises(NotFound) as caught:
        await chain([Known()], End())(call)
    assert caught.value.message == "The model 'gpt-4p' does not exist. Available: claude."


async def test_a_catalogue_of_thousands_is_not_listed_whole() -> None:
    ports = fake_ports(*(fake_model(f"model-{number}") for number in range(3_000)))
    with pytest.raises(NotFound, match="and 2980 more") as caught:
        await chain([Known()], End())(fake_call("x" * 10_000, ports=ports))
    assert len(caught.value.message) < 1_000


async def test_a_model_the_key_may_not_use_is_refused() -> None:
    call = fake_call(ports=PORTS)
    call = replace(call, principal=replace(call.principal, models=frozenset({"claude"})))
    with pytest.raises(Forbidden, match="it may use: claude"):
        await chain([Known()], End())(call)


@pytest.mark.parametrize(
    ("model", "operation", "message"),
    [
        ("gpt-4o", Operation.EMBEDDINGS, "The model 'gpt-4o' does not make embeddings; these do: embed."),
        ("embed", Operation.CHAT, "The model 'embed' does not answer chat calls; these do: claude, gpt-4o."),
    ],
)
async def test_a_model_is_not_asked_for_what_it_does_not_do(model: str, operation: Operation, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await chain([Known()], End())(fake_call(model, operation=operation, ports=PORTS))
    assert caught.value.message == message


async def test_aliases_are_looked_up_by_what_they_stand_for() -> None:
    end = End()
    alias = Rewrite(kind="rewrite", alias={"smart": "gpt-4o"})
    await chain([alias, Known()], end)(fake_call("smart", ports=PORTS))
    assert end.asked == ["gpt-4o"]
