"""From a request to a Call: what the client sent, without our own fields, and who it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proxy.call import Account, Call, Operation
from proxy.dialect.body import parse
from proxy.dialect.request import Own, check, take_own
from proxy.edge.context import Context
from proxy.edge.identify import USER_HEADER, payer, workspace
from proxy.edge.live import Version
from proxy.edge.reply import BodyReply
from proxy.errors import BadRequest
from proxy.keys import NAME_CHARS_MAX

_SWITCH: Mapping[str, bool] = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def draft(ctx: Context, version: Version, operation: Operation) -> Call:
    """A call of which only its caller is known; what is refused before its body is understood is recorded with it."""
    user = ctx.principal.user or ctx.headers.get(USER_HEADER, "")[:NAME_CHARS_MAX]
    return Call(
        id=ctx.request_id,
        principal=ctx.principal,
        payer=Account(ctx.principal.namespace, user),
        operation=operation,
        action=None,
        model="",
        requested_model="",
        body={},
        deadline_at=ctx.trace.received_at + version.limits.call_s,
        reply=BodyReply(ctx.trace, _nowhere),
        ports=version.ports,
        trace=ctx.trace,
        workspace=ctx.principal.workspace,
    )


def build(ctx: Context, version: Version, operation: Operation, raw: bytes) -> Call:
    """The call that the headers and the body ask for. Raises BadRequest, Forbidden."""
    whole = parse(raw, depth_max=version.limits.json_depth_max, values_max=version.limits.json_values_max)
    check(whole, operation)
    body, own = take_own(whole)
    stream = operation is Operation.CHAT and bool(body.get("stream"))
    options = body.get("stream_options")
    model = str(body["model"])
    return replace(
        draft(ctx, version, operation),
        payer=payer(ctx.principal, header=ctx.headers.get(USER_HEADER), body_user=own.user),
        action=_action(ctx.headers, own),
        model=model,
        requested_model=model,
        candidates=(model,),
        body=body,
        stream=stream,
        usage_wanted=bool(stream and isinstance(options, Mapping) and options.get("include_usage")),
        auto_downgrade=_auto_downgrade(ctx.headers, own),
        deadline_at=_deadline_at(ctx, version),
        workspace=workspace(ctx.principal, own.workspace),
        prospect=own.prospect,
    )


def _action(headers: Mapping[str, str], own: Own) -> str | None:
    header = headers.get("x-orch-action")
    if header is not None and own.action is not None and header != own.action:
        raise BadRequest(
            f"The header x-orch-action names {header[:100]!r}, metadata.action {own.action[:100]!r}. Name one action.",
            param="metadata.action",
        )
    return header if header is not None else own.action


def _auto_downgrade(headers: Mapping[str, str], own: Own) -> bool:
    header = headers.get("x-orch-auto-downgrade")
    if header is None:
        return own.auto_downgrade
    if header.strip().lower() not in _SWITCH:
        raise BadRequest(
            f"The header x-orch-auto-downgrade is {header[:20]!r}; send on or off.", param="x-orch-auto-downgrade"
        )
    return _SWITCH[header.strip().lower()]


def _deadline_at(ctx: Context, version: Version) -> float:
    """Monotonic seconds. The client may shorten the call's deadline, never lengthen it."""
    header = ctx.headers.get("x-orch-timeout-s")
    try:
        wanted_s = version.limits.call_s if header is None else float(header)
    except ValueError:
        wanted_s = 0.0
    if not 0 < wanted_s < float("inf"):
        raise BadRequest(
            f"The header x-orch-timeout-s is {(header or '')[:20]!r}; send seconds, more than 0.",
            param="x-orch-timeout-s",
        )
    return ctx.trace.received_at + min(wanted_s, version.limits.call_s)


async def _nowhere(message: object) -> None:
    raise AssertionError(f"a call without its reply yet has nowhere to send {message!r}")
