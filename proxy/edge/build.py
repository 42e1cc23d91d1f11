"""From a request to a Call: what the client sent, without our own fields, and who it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.call import Account, Call, Operation, Principal, Trace
from proxy.dialect.body import parse
from proxy.dialect.request import Own, check, take_own
from proxy.edge.identify import USER_HEADER, payer, workspace
from proxy.edge.live import Version
from proxy.edge.reply import ClientReply
from proxy.errors import BadRequest

_SWITCH: Mapping[str, bool] = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is known of a request once its caller is: enough to record a refusal."""

    id: str
    principal: Principal
    headers: Mapping[str, str]
    operation: Operation
    received_at: float


def draft(request: Request, version: Version, reply: ClientReply, trace: Trace) -> Call:
    """The call before its body is understood; what is refused is recorded with it."""
    user = request.principal.user or request.headers.get(USER_HEADER, "")[:200]
    return Call(
        id=request.id,
        principal=request.principal,
        payer=Account(request.principal.namespace, user),
        operation=request.operation,
        action=None,
        model="",
        requested_model="",
        body={},
        deadline_at=request.received_at + version.limits.call_s,
        reply=reply,
        ports=version.ports,
        trace=trace,
        workspace=request.principal.workspace,
    )


def build(request: Request, version: Version, raw: bytes, empty: Call) -> Call:
    """Fill the draft from the body and the headers. Raises BadRequest, Forbidden."""
    whole = parse(raw, depth_max=version.limits.json_depth_max)
    check(whole, request.operation)
    body, own = take_own(whole)
    stream = bool(body.get("stream"))
    options = body.get("stream_options")
    model = str(body["model"])
    return replace(
        empty,
        payer=payer(request.principal, header=request.headers.get(USER_HEADER), body_user=own.user),
        action=_action(request.headers, own),
        model=model,
        requested_model=model,
        candidates=(model,),
        body=body,
        stream=stream,
        usage_wanted=bool(stream and isinstance(options, Mapping) and options.get("include_usage")),
        auto_downgrade=_auto_downgrade(request.headers, own),
        deadline_at=_deadline_at(request, version),
        workspace=workspace(request.principal, own.workspace),
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
        return True if own.auto_downgrade is None else own.auto_downgrade
    if header.strip().lower() not in _SWITCH:
        raise BadRequest(
            f"The header x-orch-auto-downgrade is {header[:20]!r}; send on or off.", param="x-orch-auto-downgrade"
        )
    return _SWITCH[header.strip().lower()]


def _deadline_at(request: Request, version: Version) -> float:
    """Monotonic seconds. The client may shorten the call's deadline, never lengthen it."""
    header = request.headers.get("x-orch-timeout-s")
    try:
        wanted_s = version.limits.call_s if header is None else float(header)
    except ValueError:
        wanted_s = 0.0
    if not 0 < wanted_s < float("inf"):
        raise BadRequest(
            f"The header x-orch-timeout-s is {(header or '')[:20]!r}; send seconds, more than 0.",
            param="x-orch-timeout-s",
        )
    return request.received_at + min(wanted_s, version.limits.call_s)
