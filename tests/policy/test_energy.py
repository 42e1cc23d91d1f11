"""Energy: which action, which offers, what is held, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Call, Charge, Ending, How, Offer, Opening, Operation, Role
from proxy.chain import chain
from proxy.errors import BadRequest, EnergyExhausted, Forbidden
from proxy.policy.energy import Energy
from proxy.testing import FakeHold, FakeRoutes, NullJournal, fake_call, fake_model, fake_ports
from tests.policy.policy_parts import PRICES, End

PREMIUM = Offer(model="gpt-4o", points=10)
ECONOMY = Offer(model="gpt-4o-mini", points=3)


class Purse(NullJournal):
    """A journal with a balance. ``closed`` is what it asked the charge for, per ending, when a call was over."""

    def __init__(self, balance: int) -> None:
        super().__init__()
        self.balance = balance
        self.openings: list[Opening] = []
        self.closed: list[int] = []

    @asynccontextmanager
    async def reserving(
        self, call: Call, offers: Sequence[Offer], *, opening: Opening, charge: Charge
    ) -> AsyncIterator[Call]:
        self.offers.append(offers)
        self.openings.append(opening)
        paid = next((offer for offer in offers if offer.points <= self.balance), None)
        if paid is None:
            raise EnergyExhausted(required=min(offer.points for offer in offers), available=self.balance)
        yield replace(call, model=paid.model, hold=FakeHold(paid.points))
        self.closed.append(charge(Ending(How.ANSWERED, paid.model)))


def energy(**settings: Any) -> Energy:
    return Energy.model_validate({"kind": "energy", "prices": PRICES, **settings})


class Shop:
    """An energy policy, a purse and the end of the chain."""

    def __init__(self, balance: int = 100, *, mini: dict[str, Any] | None = None, **settings: Any) -> None:
        self.purse = Purse(balance)
        self.end = End()
        self.policy = energy(**settings)
        known = (
            fake_model("gpt-4o"),
            fake_model("gpt-4o-mini", **(mini or {})),
            fake_model("embed", operation=Operation.EMBEDDINGS),
        )
        self.ports = fake_ports(journal=self.purse, routes=FakeRoutes(*known))

    def call(self, **changes: Any) -> Call:
        return fake_call(ports=self.ports, **{"action": None, **changes})

    async def run(self, call: Call) -> None:
        await chain([self.policy], self.end)(call)

    @property
    def offered(self) -> list[Offer]:
        return list(self.purse.offers[-1])


async def test_a_call_holds_the_asked_models_price_and_is_charged_it() -> None:
    shop = Shop()
    await shop.run(shop.call())
    assert shop.offered == [PREMIUM, ECONOMY]
    assert shop.end.asked == ["gpt-4o"]
    assert shop.end.calls[0].hold is not None
    assert shop.end.calls[0].hold.points == 10
    assert shop.purse.closed == [10]
    assert shop.purse.openings == [Opening("free", 100)]


async def test_a_low_balance_is_answered_by_the_cheaper_model() -> None:
    shop = Shop(balance=9)
    await shop.run(shop.call())
    assert shop.end.asked == ["gpt-4o-mini"]
    assert shop.purse.closed == [3]


@pytest.mark.parametrize("status", [429, 402])
async def test_an_empty_balance_is_refused_with_the_cheapest_offer_named(status: int) -> None:
    shop = Shop(balance=2, refusal_status=status)
    with pytest.raises(EnergyExhausted, match=r"Insufficient energy\. Required: 3, Available: 2") as caught:
        await shop.run(shop.call())
    assert caught.value.status == status
    assert shop.end.calls == []


async def test_a_call_can_switch_its_downgrade_off() -> None:
    shop = Shop()
    await shop.run(shop.call(auto_downgrade=False))
    assert shop.offered == [PREMIUM]


async def test_a_call_cannot_switch_on_what_the_operator_switched_off() -> None:
    shop = Shop(auto_downgrade=False)
    await shop.run(shop.call(auto_downgrade=True))
    assert shop.offered == [PREMIUM]


async def test_a_cheaper_model_that_lacks_what_is_needed_is_not_offered() -> None:
    shop = Shop(mini={"lacks": frozenset({"vision"})})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [picture]}]}
    await shop.run(shop.call(body=body))
    assert shop.offered == [PREMIUM]


async def test_a_cheaper_model_that_the_key_may_not_use_is_not_offered() -> None:
    shop = Shop()
    call = shop.call()
    await shop.run(replace(call, principal=replace(call.principal, models=frozenset({"gpt-4o"}))))
    assert shop.offered == [PREMIUM]


async def test_a_dearer_action_holds_more() -> None:
    shop = Shop()
    call = shop.call(action="ai_scan")
    await shop.run(replace(call, principal=replace(call.principal, role=Role.SERVICE)))
    assert [offer.points for offer in shop.offered] == [15, 5]
    assert shop.end.calls[0].action == "ai_scan"


async def test_the_default_action_is_written_on_the_call() -> None:
    shop = Shop()
    await shop.run(shop.call())
    assert shop.end.calls[0].action == "ai_message"


@pytest.mark.parametrize("action", ["ai_mesage", "embedding", "", "x" * 10_000])
async def test_an_unknown_action_is_told_with_the_known_ones(action: str) -> None:
    shop = Shop()
    with pytest.raises(BadRequest) as caught:
        await shop.run(shop.call(action=action))
    assert caught.value.param == "metadata.action"
    assert "Known: ai_message, ai_scan." in caught.value.message
    assert len(caught.value.message) < 500
    assert shop.purse.offers == []


async def test_a_user_key_has_the_default_action_only() -> None:
    shop = Shop()
    with pytest.raises(Forbidden, match="it may use: ai_message"):
        await shop.run(shop.call(action="ai_scan"))
    assert shop.purse.offers == []


async def test_what_auth_leaves_of_the_actions_binds_the_default_too() -> None:
    shop = Shop()
    call = shop.call()
    with pytest.raises(Forbidden, match="'ai_message'; it may use: ai_scan"):
        await shop.run(replace(call, principal=replace(call.principal, within_actions=frozenset({"ai_scan"}))))


async def test_embeddings_have_their_own_action_cost_nothing_and_never_change_model() -> None:
    shop = Shop(balance=0)
    body = {"model": "embed", "input": "Hi"}
    await shop.run(shop.call(model="embed", body=body, operation=Operation.EMBEDDINGS))
    assert shop.offered == [Offer(model="embed", points=0)]
    assert shop.end.calls[0].action == "embedding"


async def test_priced_embeddings_are_refused_rather_than_moved() -> None:
    prices = {**PRICES, "actions": {**PRICES["actions"], "embedding": {"premium": 2, "economy": 1}}}
    shop = Shop(balance=1, prices=prices)
    body = {"model": "embed", "input": "Hi"}
    with pytest.raises(EnergyExhausted, match="Required: 2, Available: 1"):
        await shop.run(shop.call(model="embed", body=body, operation=Operation.EMBEDDINGS))


async def test_caps_are_looked_at_before_anything_is_held() -> None:
    shop = Shop()
    with pytest.raises(BadRequest, match="n_max"):
        await shop.run(shop.call(body={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "n": 2}))
    assert shop.purse.offers == []


async def test_the_charge_follows_the_operators_choices() -> None:
    charges: list[Charge] = []

    class Noting(NullJournal):
        @asynccontextmanager
        async def reserving(
            self, call: Call, offers: Sequence[Offer], *, opening: Opening, charge: Charge
        ) -> AsyncIterator[Call]:
            charges.append(charge)
            yield call

    ports = fake_ports(journal=Noting())
    await chain([energy(on_partial="full", on_unknown="charge")], End())(fake_call(ports=ports))
    assert charges[0](Ending(How.BROKEN, "gpt-4o")) == 10
    assert charges[0](Ending(How.UNKNOWN, "gpt-4o-mini")) == 3


def test_problems_of_the_price_list_are_told_where_it_is_included() -> None:
    policy = energy(prices={**PRICES, "default_plan": "fre"})
    assert [spot for spot, _ in policy.problems({})] == [("prices", "default_plan")]
