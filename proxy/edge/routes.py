"""The routes: every rule of ``access.py`` with its endpoint, behind the check of who may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.routing import Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.call import Operation
from proxy.edge.access import ACCESS, Keyless, Rule, reach
from proxy.edge.admin.desk import Desk
from proxy.edge.admin.endpoint import AdminEndpoint
from proxy.edge.admin.operations import OPERATIONS
from proxy.edge.calls import CallEndpoint
from proxy.edge.context import keep, known
from proxy.edge.gateway import Gateway
from proxy.edge.openapi.serving import OpenApi
from proxy.edge.reads import Reads
from proxy.edge.scrape import Scrape

Endpoints = Mapping[str, ASGIApp]
"""The endpoint of each rule, by the rule's name."""


def routes(gateway: Gateway, desk: Desk, rules: Sequence[Rule] = ACCESS) -> list[Route]:
    """One route for each path; nothing else is served."""
    return guarded(rules, endpoints(gateway, desk, rules))


def guarded(rules: Sequence[Rule], served: Endpoints) -> list[Route]:
    by_path: dict[str, list[Rule]] = {}
    for rule in rules:
        by_path.setdefault(rule.path, []).append(rule)
    return [
        Route(
            path, Admission({rule.method: (rule, served[rule.name]) for rule in same}), methods=[r.method for r in same]
        )
        for path, same in by_path.items()
    ]


def endpoints(gateway: Gateway, desk: Desk, rules: Sequence[Rule]) -> Endpoints:
    reads = Reads(gateway)
    return {
        **{name: AdminEndpoint(desk, name) for name in OPERATIONS},
        "chat": CallEndpoint(gateway, Operation.CHAT),
        "embeddings": CallEndpoint(gateway, Operation.EMBEDDINGS),
        "models": request_response(reads.models),
        "model": request_response(reads.model),
        "call": request_response(reads.call),
        "energy": request_response(reads.energy),
        "metrics": request_response(Scrape(gateway).metrics),
        "openapi": request_response(OpenApi(rules).read),
        "live": request_response(reads.live),
        "live_too": request_response(reads.live),
        "ready": request_response(reads.ready),
        "ready_too": request_response(reads.ready),
    }


class Admission:
    """One path: lets a request through to the endpoint of its method if the rule lets its caller.

    The guard has found out who calls; that nobody does, only where none is needed.
    """

    def __init__(self, by_method: Mapping[str, tuple[Rule, ASGIApp]]) -> None:
        self._by_method = by_method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        rule, endpoint = self._by_method[method]
        caller = known(scope)
        if caller is not None:
            keep(scope, replace(caller, reach=reach(caller.principal, rule)))
        assert caller is not None or rule.keyless is not Keyless.NOBODY
        await endpoint(scope, receive, send)
