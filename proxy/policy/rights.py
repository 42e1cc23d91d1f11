"""Rights: which models and actions a key may use. Both the key and the chain's auth policy must allow."""

from __future__ import annotations

from collections.abc import Collection

from proxy.call import Call, Principal, Role
from proxy.errors import Forbidden
from proxy.policy.naming import listing, matches


def may_use(principal: Principal, model: str) -> bool:
    """Whether calls with this key may be answered by ``model``."""
    return all(allowed is None or matches(model, allowed) for allowed in (principal.models, principal.within_models))


def require_model(call: Call) -> None:
    """Raise Forbidden unless the key may ask for the call's model, by its own name or by the alias the client used."""
    for allowed in (call.principal.models, call.principal.within_models):
        if allowed is None or matches(call.model, allowed) or matches(call.requested_model, allowed):
            continue
        raise Forbidden(
            f"This key may not use the model {call.requested_model[:100]!r}; it may use: {listing(allowed)}.",
            param="model",
        )


def require_action(principal: Principal, action: str, *, default: str) -> None:
    """Raise Forbidden unless the key may use ``action``; a user key that names none has the ``default`` only."""
    own: Collection[str] | None = principal.actions
    if own is None and principal.role is Role.USER:
        own = (default,)
    for allowed in (own, principal.within_actions):
        if allowed is not None and not matches(action, allowed):
            raise Forbidden(
                f"This key may not use the action {action[:100]!r}; it may use: {listing(allowed)}.",
                param="metadata.action",
            )
