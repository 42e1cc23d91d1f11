"""Charge: what a call costs, decided in one place from how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from proxy.call import Ending, How, Model
from proxy.policy.prices import PriceList

OnPartial = Literal["free", "full"]
OnUnknown = Literal["release", "charge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """The charge of one call, as the journal asks for it: pure, in points, never more than what was held for the model."""

    action: str
    prices: PriceList
    models: Mapping[str, Model]
    on_partial: OnPartial
    on_unknown: OnUnknown

    def __call__(self, ending: Ending) -> int:
        if ending.model is None:
            return 0  # nobody's content reached the client
        return self.price(ending.model) if self._is_paid(ending.how) else 0

    def price(self, model: str) -> int:
        return self.prices.price(self.action, model, self.models)

    def _is_paid(self, how: How) -> bool:
        match how:
            case How.ANSWERED:
                return True
            case How.OVERDUE | How.STALLED | How.LEFT_AFTER:
                return True  # or a short timeout, or hanging up at the end, would be free content
            case How.BROKEN:
                return self.on_partial == "full"
            case How.UNKNOWN:
                return self.on_unknown == "charge"
            case How.FAILED | How.LEFT_BEFORE | How.SHUTDOWN | How.NOT_RECORDED:
                return False
        assert_never(how)
