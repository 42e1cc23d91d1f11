"""The ASGI application: guard every request, then route it.

Deny by default: a path is served without a key only if it is in ``PUBLIC``. Authorisation looks at ``scope["path"]``, never
at ``request.url``, which is rebuilt from the Host header (CVE-2026-48710).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.call import Principal
from proxy.edge.errors import failure
from proxy.edge.gateway import Keys
from proxy.edge.headers import request_headers
from proxy.edge.identify import credentials
from proxy.edge.ids import uuid7
from proxy.edge.receive import ClientGone
from proxy.edge.reply import send_failure
from proxy.errors import BadRequest, NotFound, OrchError, WrongMethod

log = logging.getLogger("proxy.edge")

PUBLIC = frozenset({"/livez", "/readyz", "/health/liveliness", "/health/readiness"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A request whose caller is known."""

    request_id: str
    principal: Principal
    headers: Mapping[str, str]
    received_at: float


def context(scope: Scope) -> Context:
    found = scope["state"]["context"]
    assert isinstance(found, Context)
    return found


def application(routes: Sequence[BaseRoute], keys: Keys) -> Starlette:
    """Routes behind the guard. Unknown paths and wrong methods come back as our errors."""
    return Starlette(routes=routes, middleware=[Middleware(Guard, keys=keys)])


class Guard:
    """Gives every request its id, checks Host and key, and answers every error in OpenAI's shape."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = Answer(send, uuid7())
        try:
            await self._admit(scope, answer.request_id)
            await self._app(scope, receive, answer)
        except ClientGone:
            return
        except OrchError as error:
            await self._refuse(error, answer)
        except HTTPException as error:
            await self._refuse(_routing_error(error, scope), answer)
        except Exception:
            log.exception("request %s: a bug of ours", answer.request_id)
            await self._refuse(OrchError("Something went wrong on our side.", reason="internal_error"), answer)

    async def _admit(self, scope: Scope, request_id: str) -> None:
        received_at = time.monotonic()
        headers = request_headers(scope["headers"])
        _check_host(scope)
        if scope["path"] in PUBLIC:
            return
        principal = await self._keys.principal(credentials(headers))
        scope.setdefault("state", {})["context"] = Context(
            request_id=request_id, principal=principal, headers=headers, received_at=received_at
        )

    async def _refuse(self, error: OrchError, answer: Answer) -> None:
        if not answer.started:
            await send_failure(answer, failure(error))


class Answer:
    """``send`` that adds x-request-id to whatever answer leaves, and knows whether one has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.started = False
        self._send = send
        self._header = (b"x-request-id", request_id.encode())

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)


def _check_host(scope: Scope) -> None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1:
        raise BadRequest("The request has more than one Host header. Send one.", param="host")


def _routing_error(error: HTTPException, scope: Scope) -> OrchError:
    path, method = scope["path"][:200], scope["method"]
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "").split(", ")
        return WrongMethod(f"{path} does not take {method}. Use {' or '.join(sorted(allow))}.", allow=sorted(allow))
    return NotFound(
        f"Nothing is served at {path}. See GET /v1/models and POST /v1/chat/completions.", reason="unknown_url"
    )
