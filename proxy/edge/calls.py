"""The endpoints that make calls: read, build, run through the chain, answer."""

from __future__ import annotations

from dataclasses import replace

from starlette.types import Receive, Scope, Send

from proxy.call import Operation
from proxy.dialect.body import values
from proxy.edge.build import build
from proxy.edge.context import context
from proxy.edge.gateway import Gateway
from proxy.edge.receive import read_body
from proxy.edge.reply import reply_for
from proxy.edge.serve import serve

VALUE_BYTES = 64
"""What a parsed JSON value takes in memory, about: counted against bodies_bytes_max beside the bytes themselves."""


class CallEndpoint:
    """``POST /v1/chat/completions`` or ``POST /v1/embeddings``, as an ASGI application."""

    def __init__(self, gateway: Gateway, operation: Operation) -> None:
        self._gateway = gateway
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        with (
            gateway.live.using().hold() as version,
            gateway.serving.receiving(version.limits.calls_max),
            gateway.bodies.share() as share,
        ):
            raw = await read_body(scope, receive, limits=version.limits, share=share)
            with gateway.serving.one(version.limits.calls_max):
                share.take(min(values(raw), version.limits.json_values_max) * VALUE_BYTES)
                call = build(context(scope), version, self._operation, raw)
                call = replace(call, reply=reply_for(call, send, version.limits))
                await serve(
                    call, version.handler, refused=gateway.note_refusal, receive=receive, observer=gateway.observer
                )
