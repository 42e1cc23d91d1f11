"""``GET /metrics``: the text. It names models, actions and deployments, never who calls."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from proxy.config.addresses import is_loopback
from proxy.edge.gateway import Gateway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
"""A request with one of these came through a reverse proxy: over loopback, but from anywhere."""


class Scrape:
    """The handler over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def metrics(self, request: Request) -> Response:
        return Response(await self._gateway.metrics.text(), media_type=CONTENT_TYPE)


def is_near(scope: Scope) -> bool:
    """Whether the request came in over loopback, from this machine itself."""
    host = (scope.get("server") or ("", None))[0]
    return is_loopback(host) and not any(name in FORWARDED for name, _ in scope["headers"])
