"""Retry: try again while the client has seen nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase


class Retry(PolicyBase):
    """Retry."""

    kind: Literal["retry"]
    attempts_max: int = Field(3, ge=1, le=8, description="x")
    backoff_s: float = Field(1, gt=0, description="x")
    backoff_max_s: float = Field(30, gt=0, description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
