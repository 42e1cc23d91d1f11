"""Fallback: which other models may answer when the asked one cannot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase


class Fallback(PolicyBase):
    """Fallback."""

    kind: Literal["fallback"]
    to: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="x")
    default: tuple[str, ...] = Field((), description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
