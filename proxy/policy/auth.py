"""Auth: which calls this chain takes, of those the key itself may make. It can only narrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Operation, Outcome, Role
from proxy.config.settings import Name
from proxy.errors import Forbidden
from proxy.policy.base import PolicyBase
from proxy.policy.naming import listing


class Auth(PolicyBase):
    """Refuses what the key or these settings do not allow. The edge has authenticated the key before any policy runs."""

    kind: Literal["auth"]
    operations: tuple[Literal[Operation.CHAT, Operation.EMBEDDINGS], ...] | None = Field(
        None, min_length=1, description="Only these operations: chat, embeddings. Default: whatever the key may."
    )
    models: tuple[Name, ...] | None = Field(
        None, min_length=1, description="Only these models, by name, alias or glob. Default: whatever the key may."
    )
    actions: tuple[Name, ...] | None = Field(
        None, min_length=1, description="Only these actions, by name or glob. Default: whatever the key may."
    )
    roles: tuple[Literal[Role.USER, Role.SERVICE], ...] | None = Field(
        None, min_length=1, description="Only keys of these roles: user, service. Default: both."
    )

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        self._require_role(call.principal.role)
        _require_operation(call.operation, call.principal.operations)
        _require_operation(call.operation, self.operations)
        if self.models is None and self.actions is None:
            return await call_next(call)
        # Judged where they are known: the model once aliases are resolved, the action once it has its default.
        within = replace(call.principal, within_models=_frozen(self.models), within_actions=_frozen(self.actions))
        return await call_next(replace(call, principal=within))

    def _require_role(self, role: Role) -> None:
        if role is Role.ADMIN:
            raise Forbidden("An admin key opens /admin and makes no calls; use a user key or a service key.")
        if self.roles is not None and role not in self.roles:
            raise Forbidden(f"Calls with a {role.value} key are not taken here; allowed: {listing(self.roles)}.")


def _require_operation(operation: Operation, allowed: Iterable[str] | None) -> None:
    if allowed is not None and operation not in allowed:
        raise Forbidden(f"This key may not make {operation.value} calls; it may make: {listing(allowed)}.")


def _frozen(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
