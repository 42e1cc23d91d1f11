"""The table of routes."""

from __future__ import annotations

from starlette.routing import Route

from proxy.edge.asgi import CALLS, PUBLIC
from proxy.edge.routes import routes
from proxy.testing import NullJournal
from tests.edge.test_asgi import gateway_of


def test_what_is_public_and_what_makes_calls_are_routes_that_exist() -> None:
    table = {route.path: route.methods for route in routes(gateway_of(NullJournal())) if isinstance(route, Route)}

    assert set(table) >= PUBLIC
    assert {path for path, methods in table.items() if methods == {"POST"}} == set(CALLS)
