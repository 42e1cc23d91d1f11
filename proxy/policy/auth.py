"""Auth: which calls this chain takes, of those the key may make."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Outcome
from proxy.policy.base import PolicyBase


class Auth(PolicyBase):
    """Narrows."""

    kind: Literal["auth"]
    operations: tuple[str, ...] | None = Field(None, description="x")
    models: tuple[str, ...] | None = Field(None, description="x")
    actions: tuple[str, ...] | None = Field(None, description="x")
    roles: tuple[str, ...] | None = Field(None, description="x")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        return await call_next(call)
