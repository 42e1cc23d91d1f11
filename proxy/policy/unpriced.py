"""Recording without prices: a chain that has no energy policy still writes every call down, for 0 points."""

from __future__ import annotations

from typing import Literal

from proxy.call import NO_PLAN, Call, Ending, Handler, Offer, Opening, Outcome
from proxy.policy.base import PolicyBase

OPENING = Opening(plan=NO_PLAN, points=0)


def free(ending: Ending) -> int:
    """The charge of a call that nobody priced."""
    return 0


class Unpriced(PolicyBase):
    """Holds nothing and records the call. The chain's builder puts it in; it is no kind an operator can write or remove."""

    kind: Literal["unpriced"] = "unpriced"

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        offers = (Offer(model=call.model, points=0),)
        async with call.ports.journal.reserving(call, offers, opening=OPENING, charge=free) as held:
            return await call_next(held)
