"""Timeout: how long one attempt may stay silent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase


class Timeout(PolicyBase):
    """Timeout."""

    kind: Literal["timeout"]
    first_content_s: float = Field(30, gt=0, description="x")
    idle_s: float = Field(30, gt=0, description="x")
    answer_s: float = Field(300, gt=0, description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
