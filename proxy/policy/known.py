"""Known: the model asked for exists, does what is asked, and the key may use it. Looked at once, after aliases, before prices."""

from __future__ import annotations

from typing import Literal

from proxy.call import Call, Handler, Operation, Outcome
from proxy.errors import BadRequest, NotFound
from proxy.policy.base import PolicyBase
from proxy.policy.naming import did_you_mean, listing
from proxy.policy.rights import may_use, require_model

_SAID = {Operation.CHAT: "answer chat calls", Operation.EMBEDDINGS: "make embeddings"}


class Known(PolicyBase):
    """The chain's builder puts it in front of what prices and records; it is no kind an operator can write or remove."""

    kind: Literal["known"] = "known"

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        model = call.ports.routes.models.get(call.model)
        if model is None:
            raise _not_found(call)
        require_model(call)
        if model.operation is not call.operation:
            raise _wrong_operation(call)
        return await call_next(call)


def _allowed(call: Call) -> list[str]:
    """Models this key may use: an error tells nobody of others."""
    return [name for name in call.ports.routes.models if may_use(call.principal, name)]


def _not_found(call: Call) -> NotFound:
    names = _allowed(call)
    asked = call.requested_model
    return NotFound(
        f"The model {asked[:100]!r} does not exist{did_you_mean(asked, names) or '.'} Available: {listing(names)}.",
        reason="model_not_found",
        param="model",
    )


def _wrong_operation(call: Call) -> BadRequest:
    models = call.ports.routes.models
    able = [name for name in _allowed(call) if models[name].operation is call.operation]
    return BadRequest(
        f"The model {call.requested_model[:100]!r} does not {_SAID[call.operation]}; these do: {listing(able)}.",
        param="model",
    )
