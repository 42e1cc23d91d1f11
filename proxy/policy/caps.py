"""Caps: how large a call may be for its action's one price."""

from __future__ import annotations

from dataclasses import replace

from proxy.call import Call, Operation
from proxy.dialect.translate import translate
from proxy.dialect.usage import estimate_input_tokens
from proxy.errors import BadRequest
from proxy.policy.prices import Action

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")


def within_caps(call: Call, action: str, caps: Action) -> Call:
    """The call, with its output limited where the client set no limit. Raises BadRequest naming the cap that it passes."""
    _require_input(call, action, caps)
    if call.operation is Operation.EMBEDDINGS:
        return call
    asked = call.body.get("n")
    if isinstance(asked, int) and asked > caps.n_max:
        raise BadRequest(f"n is {asked}; the action {action!r} allows at most {caps.n_max} (n_max).", param="n")
    return _with_output_limit(call, action, caps)


def _require_input(call: Call, action: str, caps: Action) -> None:
    if caps.input_tokens_max is None:
        return
    tokens = estimate_input_tokens(call.body)
    if tokens > caps.input_tokens_max:
        raise BadRequest(
            f"The input is about {tokens} tokens; the action {action!r} allows at most {caps.input_tokens_max}"
            " (input_tokens_max).",
            param="messages" if call.operation is Operation.CHAT else "input",
        )


def _with_output_limit(call: Call, action: str, caps: Action) -> Call:
    cap = caps.output_tokens_max
    if cap is None:
        return call
    asked = {name: value for name in OUTPUT_LIMITS if isinstance(value := call.body.get(name), int)}
    for name, value in asked.items():
        if value > cap:
            raise BadRequest(
                f"{name} is {value}; the action {action!r} allows at most {cap} (output_tokens_max).", param=name
            )
    if asked:
        return call
    # Said as the asked model takes it; a call that is moved is translated again.
    limit = translate({"max_tokens": cap}, model=call.ports.routes.models[call.model])
    return replace(call, body={**call.body, **limit})
