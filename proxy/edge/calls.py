"""The endpoints that make calls: read, build, run through the chain, answer."""

from __future__ import annotations

from dataclasses import replace

from starlette.types import Receive, Scope, Send

from proxy.call import Call, Operation, Trace
from proxy.edge.asgi import Context, context
from proxy.edge.build import Request, build, draft
from proxy.edge.gateway import Gateway
from proxy.edge.live import Version
from proxy.edge.receive import Share, read_body
from proxy.edge.reply import ClientReply, reply_for
from proxy.edge.serve import serve
from proxy.errors import OrchError


class CallEndpoint:
    """``POST /v1/chat/completions`` or ``POST /v1/embeddings``, as an ASGI application."""

    def __init__(self, gateway: Gateway, operation: Operation) -> None:
        self._gateway = gateway
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        with (
            gateway.live.using().hold() as version,
            gateway.serving.one(version.limits.calls_max),
            gateway.bodies.share() as share,
        ):
            call = await self._call(scope, receive, version=version, share=share)
            call = replace(call, reply=reply_for(call, send, stall_s=version.limits.stall_s))
            await serve(call, version.handler, refused=gateway.note_refusal, receive=receive)

    async def _call(self, scope: Scope, receive: Receive, *, version: Version, share: Share) -> Call:
        """The call this request asks for. What is refused on the way is recorded, then raised."""
        ctx = context(scope)
        empty = refused_call(ctx, version, self._operation)
        try:
            raw = await read_body(scope, receive, limits=version.limits, share=share)
            return build(request_of(ctx, self._operation), version, raw, empty)
        except OrchError as error:
            await self._gateway.note_refusal(empty, error)
            raise


def request_of(ctx: Context, operation: Operation) -> Request:
    return Request(
        id=ctx.request_id,
        principal=ctx.principal,
        headers=ctx.headers,
        operation=operation,
        received_at=ctx.received_at,
    )


def refused_call(ctx: Context, version: Version, operation: Operation) -> Call:
    """A call of which only its caller is known."""
    trace = Trace(ctx.received_at)
    return draft(request_of(ctx, operation), version, ClientReply(trace, _nowhere), trace)


async def _nowhere(message: object) -> None:
    raise AssertionError(f"a refused call has no reply, got {message!r}")
