"""Rewrite: names that stand for models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase


class Rewrite(PolicyBase):
    """Alias."""

    kind: Literal["rewrite"]
    alias: dict[str, str] = Field(default_factory=dict, description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
