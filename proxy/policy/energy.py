"""Energy: price the call, hold its points, charge what its end says."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase
from proxy.policy.prices import PriceList


class Energy(PolicyBase):
    """Energy."""

    includes: ClassVar[frozenset[str]] = frozenset({"prices"})

    kind: Literal["energy"]
    prices: PriceList = Field(description="x")
    auto_downgrade: bool = Field(True, description="x")
    refusal_status: Literal[429, 402] = Field(429, description="x")
    on_partial: Literal["free", "full"] = Field("free", description="x")
    on_unknown: Literal["release", "charge"] = Field("release", description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
