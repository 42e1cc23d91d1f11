"""Rewrite resolves aliases once; what leads nowhere is found at load."""

from __future__ import annotations

from proxy.chain import chain
from proxy.policy.rewrite import Rewrite
from proxy.testing import fake_call
from tests.policy.policy_parts import End, models


def rewrite(**alias: str) -> Rewrite:
    return Rewrite(kind="rewrite", alias=alias)


async def test_an_alias_asks_the_model_behind_it_and_remembers_what_was_asked() -> None:
    end = End()
    await chain([rewrite(smart="gpt-4o")], end)(fake_call("smart"))
    assert end.calls[0].model == "gpt-4o"
    assert end.calls[0].requested_model == "smart"
    assert end.calls[0].body["model"] == "smart"


async def test_a_chain_of_aliases_is_followed_to_its_end() -> None:
    end = End()
    await chain([rewrite(best="smart", smart="gpt-4o")], end)(fake_call("best"))
    assert end.asked == ["gpt-4o"]


async def test_other_names_pass_as_they_are() -> None:
    end = End()
    call = fake_call("gpt-4o-mini")
    await chain([rewrite(smart="gpt-4o")], end)(call)
    assert end.calls == [call]


def test_a_circle_is_refused_where_it_closes() -> None:
    policy = rewrite(a="b", b="c", c="a", entry="a")
    found = dict(policy.problems(models("gpt-4o")))
    assert set(found) == {("alias", "a"), ("alias", "b"), ("alias", "c")}
    assert "a -> b -> c -> a" in found[("alias", "a")]
    assert policy.targets == {}


def test_an_alias_of_itself_is_refused() -> None:
    assert [spot for spot, _ in rewrite(a="a").problems({})] == [("alias", "a")]


def test_an_unknown_target_is_named_with_what_was_meant() -> None:
    found = list(rewrite(smart="gpt-4p").problems(models("gpt-4o", "claude")))
    assert found == [(("alias", "smart"), "no model named 'gpt-4p'; did you mean 'gpt-4o'?")]


def test_a_model_may_be_replaced_by_another() -> None:
    policy = rewrite(**{"gpt-4": "gpt-4o"})
    assert list(policy.problems(models("gpt-4", "gpt-4o"))) == []
    assert policy.targets == {"gpt-4": "gpt-4o"}
