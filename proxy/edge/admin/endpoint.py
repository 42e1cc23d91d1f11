"""The endpoint of an operation: its question out of the request, its answer or its error as HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.dialect.body import parse
from proxy.edge.admin.asking import query, question
from proxy.edge.admin.desk import Desk
from proxy.edge.admin.operations import OPERATIONS, Operation
from proxy.edge.context import context
from proxy.edge.receive import read_body
from proxy.errors import BadRequest, CallerError, Conflict, JournalUnavailable, NotFound

log = logging.getLogger("proxy.admin")

_ON_THE_COMMAND_LINE = re.compile(r"; [^;`]*`orch [^`]*`[^`]*$")

OPERATION_S = 35.0
"""How long an operation may take, in seconds: a little more than a listing may."""

OVER_HTTP: Mapping[str, tuple[type[CallerError], str | None]] = MappingProxyType(
    {
        "unknown_user": (NotFound, "POST /admin/users opens an account"),
        "unknown_key": (NotFound, "GET /admin/keys shows the ids"),
        "user_exists": (Conflict, "POST /admin/users/grants adds points"),
        "source_ref_taken": (Conflict, "another grant needs another source_ref"),
        "key_revoked": (Conflict, "POST /admin/keys makes another"),
        "calls_open": (Conflict, None),
        "takes_too_long": (BadRequest, None),
    }
)
"""What the operations' errors are over HTTP, and what mends them here rather than on the command line."""


class AdminEndpoint:
    """One operation over one desk, as an ASGI application."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name
        self._operation: Operation = OPERATIONS[name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        try:
            async with asyncio.timeout(OPERATION_S):
                answer = await self._operation.run(self._desk, asked)
        except TimeoutError as error:
            message = f"The store did not answer within {OPERATION_S:g} s; whether it was done is not known."
            raise JournalUnavailable(message) from error
        except CallerError as error:
            raise _over_http(error) from error
        if scope["method"] == "POST":
            log.info("%s by key %s", self._name, context(scope).principal.key_id)
        status, headers = self._operation.status(answer), {"cache-control": "no-store"}
        whole = Response(answer.model_dump_json(), status, headers, media_type="application/json")
        await whole(scope, receive, send)

    async def _asked(self, scope: Scope, receive: Receive) -> BaseModel:
        shape = self._operation.question
        if scope["method"] != "POST":
            return question(shape, query(shape, scope["query_string"]) | scope["path_params"])
        gateway = self._desk.gateway
        limits = gateway.live.version.limits
        with gateway.bodies.share() as share:
            raw = await read_body(scope, receive, limits=limits, share=share)
            if not raw and not shape.model_fields:
                return shape()
            return question(shape, parse(raw, depth_max=limits.json_depth_max, values_max=limits.json_values_max))


def _over_http(error: CallerError) -> CallerError:
    known = OVER_HTTP.get(error.reason)
    if known is None:
        return error
    kind, mend = known
    if mend is None:
        return kind(error.message, reason=error.reason, param=error.param)
    what = _ON_THE_COMMAND_LINE.sub("", error.message)
    return kind(f"{what[:1].upper()}{what[1:]}. {mend}.", reason=error.reason, param=error.param)
