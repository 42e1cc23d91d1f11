"""The routes are the rules of access, each with its endpoint."""

from __future__ import annotations

from typing import cast

from proxy.edge.access import ACCESS, PUBLIC, Door, served_at
from proxy.edge.admin.desk import Desk
from proxy.edge.asgi import CALLS
from proxy.edge.routes import endpoints, routes
from proxy.testing import NullJournal
from tests.edge.test_asgi import gateway_of

DESK = cast(Desk, None)  # asked by nobody here


def test_every_rule_has_an_endpoint_and_every_endpoint_a_rule() -> None:
    assert sorted(endpoints(gateway_of(NullJournal()), DESK, ACCESS)) == sorted(rule.name for rule in ACCESS)


def test_the_routes_are_those_of_the_rules() -> None:
    served = routes(gateway_of(NullJournal()), DESK)

    assert len({route.path for route in served}) == len(served)
    assert {(method, route.path) for route in served for method in (route.methods or set()) - {"HEAD"}} == {
        (rule.method, rule.path) for rule in ACCESS
    }


def test_what_is_public_and_what_makes_calls_are_routes_that_exist() -> None:
    paths = {route.path for route in routes(gateway_of(NullJournal()), DESK)}

    assert paths >= PUBLIC
    assert {rule.path for rule in ACCESS if rule.name in ("chat", "embeddings")} == set(CALLS)


def test_each_route_is_served_by_one_of_two_listeners_and_health_by_both() -> None:
    paths = {door: {rule.path for rule in served_at(door)} for door in (None, Door.MAIN, Door.ADMIN)}

    assert paths[Door.MAIN] | paths[Door.ADMIN] == paths[None] == {rule.path for rule in ACCESS}
    assert paths[Door.MAIN] & paths[Door.ADMIN] == PUBLIC
    assert all(path.startswith("/admin/") or path == "/metrics" for path in paths[Door.ADMIN] - PUBLIC)
