"""``GET /openapi.json``: the document of what this listener serves. It holds no secret, so it needs no key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import orjson
from starlette.requests import Request
from starlette.responses import Response

from proxy.edge.access import Rule
from proxy.edge.openapi.document import document


class OpenApi:
    """The handler; the document is made when it is first asked for."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    async def read(self, request: Request) -> Response:
        return Response(self._text, media_type="application/json")

    @cached_property
    def _text(self) -> bytes:
        return orjson.dumps(document(self._rules))
