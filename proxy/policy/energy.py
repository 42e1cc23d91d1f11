"""Energy: price the call, hold its points (of a cheaper model when the balance asks for it), charge what its end says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from proxy.call import Call, Handler, Model, Offer, Operation, Outcome
from proxy.dialect.needs import needs
from proxy.errors import BadRequest, EnergyExhausted
from proxy.policy.base import Finding, PolicyBase
from proxy.policy.caps import within_caps
from proxy.policy.charge import OnPartial, OnUnknown, Tariff
from proxy.policy.naming import did_you_mean, listing
from proxy.policy.pricecheck import class_misfits
from proxy.policy.prices import PriceList
from proxy.policy.rights import may_use, require_action


class Energy(PolicyBase):
    """Every call behind it holds its price before anything goes upstream, and is charged once, at its end."""

    includes: ClassVar[frozenset[str]] = frozenset({"prices"})

    kind: Literal["energy"]
    prices: PriceList = Field(
        description="The price list: a path to its file (energy.yaml), or its content right here."
    )
    auto_downgrade: bool = Field(
        True,
        description="Ask a cheaper model of the downgrade list instead of refusing, when the balance does not pay the "
        "asked one. A call can switch it off for itself, never on.",
    )
    refusal_status: Literal[429, 402] = Field(
        429, description="HTTP status of an energy refusal. 402 for clients that retry every 429."
    )
    on_partial: OnPartial = Field(
        "free", description="Charge of an answer that the upstream broke off: free (0) or full (its price)."
    )
    on_unknown: OnUnknown = Field(
        "release",
        description="Charge of a call whose outcome nobody knows because the process died: release (0) or charge.",
    )

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        for spot, message in self.prices.problems(models):
            yield ("prices", *spot), message

    def misfits(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        return class_misfits(self.prices, models)

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        action = self._action(call)
        capped = within_caps(replace(call, action=action), action, self.prices.caps(action))
        tariff = self._tariff(capped, action)
        opening = self.prices.opening()
        reserving = call.ports.journal.reserving(capped, self._offers(capped, tariff), opening=opening, charge=tariff)
        try:
            async with reserving as held:
                return await call_next(held)
        except EnergyExhausted as refused:
            refused.status = self.refusal_status
            raise

    def _action(self, call: Call) -> str:
        """The action the call names, or its operation's default, if the key may use it."""
        default = self.prices.default_action_for(call.operation)
        action = default if call.action is None else call.action
        known = self.prices.actions_for(call.operation)
        if action not in known:
            raise BadRequest(
                f"No action named {action[:100]!r} for {call.operation.value} calls{did_you_mean(action, known) or '.'}"
                f" Known: {listing(known)}.",
                param="metadata.action",
                reason="unknown_action",
            )
        require_action(call.principal, action, default=default)
        return action

    def _tariff(self, call: Call, action: str) -> Tariff:
        return Tariff(
            action=action,
            prices=self.prices,
            models=call.ports.routes.models,
            on_partial=self.on_partial,
            on_unknown=self.on_unknown,
        )

    def _offers(self, call: Call, tariff: Tariff) -> tuple[Offer, ...]:
        """The asked model, then those it may be downgraded to, each at its price."""
        asked = Offer(model=call.model, points=tariff.price(call.model))
        if not (self.auto_downgrade and call.auto_downgrade) or call.operation is not Operation.CHAT:
            return (asked,)
        cheaper = self.prices.cheaper(call.model, action=tariff.action, models=tariff.models)
        if not cheaper:
            return (asked,)
        asks = needs(call.body, call.operation)
        routes, principal = call.ports.routes, call.principal
        able = (offer for offer in cheaper if may_use(principal, offer.model) and routes.fits(offer.model, asks))
        return (asked, *able)
