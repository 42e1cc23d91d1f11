"""Chains that cannot work are refused; what no file may leave out is put in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from proxy.call import Operation
from proxy.chain import chain
from proxy.errors import NotFound, UpstreamUnavailable
from proxy.policy import AnyPolicy, PolicyBase, energy_prices, order_problems, with_recording
from proxy.testing import NullJournal, fake_call, fake_model, fake_ports
from tests.policy.policy_parts import PRICES, End, models

MODELS = {**models("gpt-4o", "gpt-4o-mini"), "embed": fake_model("embed", operation=Operation.EMBEDDINGS)}
CHAIN: TypeAdapter[tuple[AnyPolicy, ...]] = TypeAdapter(tuple[AnyPolicy, ...])


def loaded(*entries: str | dict[str, Any]) -> tuple[PolicyBase, ...]:
    """A chain of kinds, or of whole entries."""
    settings: dict[str, dict[str, Any]] = {"energy": {"prices": PRICES}}
    plain = [{"kind": entry, **settings.get(entry, {})} if isinstance(entry, str) else entry for entry in entries]
    return CHAIN.validate_python(plain)


def told(*entries: str | dict[str, Any]) -> list[tuple[int, str]]:
    return list(order_problems(loaded(*entries), MODELS))


def rewriting(**alias: str) -> dict[str, Any]:
    return {"kind": "rewrite", "alias": alias}


@pytest.mark.parametrize(
    "kinds",
    [
        ("auth", "rewrite", "energy", "fallback", "retry", "timeout"),
        ("auth",),
        ("auth", "energy"),
        ("auth", "retry"),
        ("auth", "timeout"),
        ("auth", "energy", "rewrite", "retry"),
    ],
)
def test_orders_that_work(kinds: tuple[str, ...]) -> None:
    assert told(*kinds) == []


@pytest.mark.parametrize(
    ("kinds", "place", "words"),
    [
        ((), 0, "the chain has no auth policy: add `- {kind: auth}` as its first entry"),
        (("energy",), 0, "the chain has no auth policy"),
        (("energy", "auth"), 1, "auth must be the first policy: move it to the top"),
        (("auth", "energy", "energy"), 2, "a second energy policy: policies[1] is one already"),
        (("auth", "auth"), 1, "a second auth policy"),
        (("auth", "retry", "energy"), 2, "energy must stand before retry"),
        (("auth", "timeout", "energy"), 2, "energy must stand before timeout"),
        (("auth", "fallback", "energy", "retry"), 2, "energy must stand before fallback"),
        (("auth", "fallback", "rewrite", "retry"), 2, "rewrite must stand before fallback"),
        (("auth", "retry", "rewrite"), 2, "rewrite must stand before retry"),
        (("auth", "timeout", "rewrite"), 2, "rewrite must stand before timeout"),
        (("auth", "retry", "fallback"), 2, "fallback must stand before retry"),
        (("auth", "timeout", "retry"), 2, "retry must stand before timeout"),
        (("auth", "fallback"), 1, "fallback names models that only a retry policy asks"),
        (("auth", "fallback", "timeout"), 1, "fallback names models that only a retry policy asks"),
    ],
)
def test_orders_that_cannot_work(kinds: tuple[str, ...], place: int, words: str) -> None:
    ((found, message),) = told(*kinds)
    assert found == place
    assert message.startswith(words)


def test_a_rewrite_behind_energy_may_keep_or_lower_the_price() -> None:
    assert told("auth", "energy", rewriting(**{"gpt-4o": "gpt-4o-mini"})) == []


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ({"gpt-4o-mini": "gpt-4o"}, "'gpt-4o-mini' -> 'gpt-4o' raises the price of 'ai_message' after it was held"),
        ({"smart": "gpt-4o-mini"}, "energy cannot price the alias 'smart' before it is resolved"),
    ],
)
def test_a_rewrite_behind_energy_may_do_nothing_else(alias: dict[str, str], words: str) -> None:
    ((place, message),) = told("auth", "energy", rewriting(**alias))
    assert place == 2
    assert message.startswith(words)
    assert message.endswith("move rewrite before energy")


def test_names_in_auth_that_nothing_has_are_told() -> None:
    auth = {"kind": "auth", "models": ["gpt-4o", "smart", "new-*", "gpt-4p"], "actions": ["ai_mesage", "ai_*"]}
    assert told(auth, rewriting(smart="gpt-4o"), "energy") == [
        (0, "auth.models: no model or alias named 'gpt-4p'; did you mean 'gpt-4o'?"),
        (0, "auth.actions: no action named 'ai_mesage'; did you mean 'ai_message'?"),
    ]


@pytest.mark.parametrize(
    ("kinds", "run"),
    [
        (("auth", "rewrite", "energy", "retry"), ["auth", "rewrite", "known", "energy", "retry"]),
        (("auth", "energy", "rewrite"), ["auth", "known", "energy", "rewrite"]),
        (("auth", "rewrite", "retry", "timeout"), ["auth", "rewrite", "known", "unpriced", "retry", "timeout"]),
        (("auth", "fallback", "retry"), ["auth", "known", "unpriced", "fallback", "retry"]),
        (("auth", "timeout"), ["auth", "known", "unpriced", "timeout"]),
        (("auth",), ["auth", "known", "unpriced"]),
    ],
)
def test_the_chain_that_runs_checks_the_model_and_records_the_call(kinds: tuple[str, ...], run: list[str]) -> None:
    assert [policy.kind for policy in with_recording(loaded(*kinds))] == run


def test_no_file_can_name_what_is_put_in() -> None:
    for kind in ("known", "unpriced"):
        with pytest.raises(ValueError, match="kind"):
            CHAIN.validate_python([{"kind": kind}])


def test_the_price_list_of_a_chain() -> None:
    prices = energy_prices(loaded("auth", "energy"))
    assert prices is not None
    assert prices.default_action == "ai_message"
    assert energy_prices(loaded("auth")) is None


async def test_a_call_goes_all_the_way_down_a_whole_chain() -> None:
    fallback = {"kind": "fallback", "to": {"gpt-4o": ["gpt-4o-mini"]}}
    whole = loaded("auth", rewriting(smart="gpt-4o"), "energy", fallback, "retry", "timeout")
    journal, end = NullJournal(), End(UpstreamUnavailable("down"))
    outcome = await chain(with_recording(whole), end)(fake_call("smart", ports=fake_ports(journal=journal)))
    assert outcome.model == "gpt-4o-mini"
    assert end.asked == ["gpt-4o", "gpt-4o-mini"]
    assert [[offer.points for offer in offers] for offers in journal.offers] == [[10, 3]]


async def test_an_unknown_model_holds_nothing() -> None:
    journal = NullJournal()
    handler = chain(with_recording(loaded("auth", "energy", "retry")), End())
    with pytest.raises(NotFound):
        await handler(fake_call("nobody", ports=fake_ports(journal=journal)))
    assert journal.offers == []
