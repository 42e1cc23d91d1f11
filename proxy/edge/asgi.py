"""The ASGI application: guard every request, then route it.

Deny by default: a path is served without a key only if ``access.py`` says that it is public. Authorisation looks at
``scope["path"]``, never at ``request.url``, which is rebuilt from the Host header (CVE-2026-48710).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.call import Operation, Trace
from proxy.edge.access import NEAR, PUBLIC
from proxy.edge.build import draft
from proxy.edge.context import Context, keep, known
from proxy.edge.errors import failure
from proxy.edge.gateway import Gateway
from proxy.edge.headers import check_once, request_headers
from proxy.edge.identify import credentials
from proxy.edge.ids import uuid7
from proxy.edge.receive import ClientGone
from proxy.edge.reply import send_failure
from proxy.edge.scrape import is_near
from proxy.errors import NotFound, OrchError, Overloaded, WrongMethod
from proxy.telemetry.port import REQUEST_ID

log = logging.getLogger("proxy.edge")

UNKNOWN_URL = "unknown_url"

CALLS: Mapping[str, Operation] = {"/v1/chat/completions": Operation.CHAT, "/v1/embeddings": Operation.EMBEDDINGS}
"""The paths that make calls; what is refused there is recorded, and so is what is asked of paths that do not exist."""


def application(routes: Sequence[BaseRoute], gateway: Gateway) -> ASGIApp:
    """Routes behind the guard."""
    return Guard(Router(routes, redirect_slashes=False), gateway)


class Guard:
    """Gives every request its id, checks key and headers, answers every error in OpenAI's shape, records refused calls."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "served with lifespan and websockets off"
        scope["app"] = self  # Starlette's router raises for an unknown path only when it runs inside an app
        answer = Answer(send, uuid7())
        REQUEST_ID.set(answer.request_id)
        try:
            await self._admit(scope, answer.request_id)
            await self._app(scope, receive, answer)
        except ClientGone:
            return
        except asyncio.CancelledError:  # our shutdown; let out, the server would log it as a crash and answer 500
            await self._refuse(Overloaded("The server is shutting down.", reason="shutdown"), scope, answer)
        except OrchError as error:
            await self._refuse(error, scope, answer)
        except HTTPException as error:
            await self._refuse(_routing_error(error, scope), scope, answer)
        except Exception:
            log.exception("request %s: a bug of ours", answer.request_id)
            await self._refuse(OrchError("Something went wrong on our side.", reason="internal_error"), scope, answer)

    async def _admit(self, scope: Scope, request_id: str) -> None:
        """Find out who calls, then whether the request is one at all: what a known caller got wrong is recorded."""
        received_at = time.monotonic()
        headers = request_headers(scope["headers"])
        if self._needs_key(scope):
            principal = await self._gateway.keys.principal(credentials(headers))
            trace = Trace(received_at, headers.get("traceparent"))
            found = Context(request_id=request_id, principal=principal, headers=headers, trace=trace)
            keep(scope, found)
        check_once(scope["headers"])

    def _needs_key(self, scope: Scope) -> bool:
        if scope["path"] not in NEAR:
            return scope["path"] not in PUBLIC
        public = self._gateway.metrics_public
        return not (is_near(scope) if public is None else public)

    async def _refuse(self, error: OrchError, scope: Scope, answer: Answer) -> None:
        if answer.started:
            return
        ctx, operation = known(scope), CALLS.get(scope["path"])
        if ctx is None:
            self._gateway.observer.turned_away(error)
        elif operation is not None or error.reason == UNKNOWN_URL:
            call = draft(ctx, self._gateway.live.version, operation or Operation.UNKNOWN)
            await self._gateway.note_refusal(call, error)
        await send_failure(answer, failure(error, attempts=len(ctx.trace.attempts) if ctx else 0))


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


def _routing_error(error: HTTPException, scope: Scope) -> OrchError:
    path, method = scope["path"][:200], scope["method"]
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "").split(", ")
        return WrongMethod(f"{path} does not take {method}. Use {' or '.join(sorted(allow))}.", allow=sorted(allow))
    return NotFound(
        f"Nothing is served at {path}. See GET /v1/models and POST /v1/chat/completions.", reason=UNKNOWN_URL
    )
