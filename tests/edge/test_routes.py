"""The routes are the rules of access, each with its endpoint."""

from __future__ import annotations

from proxy.edge.access import ACCESS, PUBLIC
from proxy.edge.asgi import CALLS
from proxy.edge.routes import endpoints, routes
from proxy.testing import NullJournal
from tests.edge.test_asgi import gateway_of


def test_every_rule_has_an_endpoint_and_every_endpoint_a_rule() -> None:
    assert sorted(endpoints(gateway_of(NullJournal()))) == sorted(rule.name for rule in ACCESS)


def test_the_routes_are_those_of_the_rules() -> None:
    served = routes(gateway_of(NullJournal()))

    assert len({route.path for route in served}) == len(served)
    assert {(method, route.path) for route in served for method in (route.methods or set()) - {"HEAD"}} == {
        (rule.method, rule.path) for rule in ACCESS
    }


def test_what_is_public_and_what_makes_calls_are_routes_that_exist() -> None:
    paths = {route.path for route in routes(gateway_of(NullJournal()))}

    assert paths >= PUBLIC
    assert {rule.path for rule in ACCESS if rule.name in ("chat", "embeddings")} == set(CALLS)
