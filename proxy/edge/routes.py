"""The table of routes: every path the proxy serves."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from proxy.call import Operation
from proxy.edge.calls import CallEndpoint
from proxy.edge.gateway import Gateway
from proxy.edge.reads import Reads


def routes(gateway: Gateway) -> list[BaseRoute]:
    reads = Reads(gateway)
    return [
        Route("/v1/chat/completions", CallEndpoint(gateway, Operation.CHAT), methods=["POST"]),
        Route("/v1/embeddings", CallEndpoint(gateway, Operation.EMBEDDINGS), methods=["POST"]),
        Route("/v1/models", reads.models, methods=["GET"]),
        Route("/v1/models/{id:path}", reads.model, methods=["GET"]),
        Route("/v1/calls/{id}", reads.call, methods=["GET"]),
        Route("/v1/energy", reads.energy, methods=["GET"]),
        Route("/livez", reads.live, methods=["GET"]),
        Route("/health/liveliness", reads.live, methods=["GET"]),
        Route("/readyz", reads.ready, methods=["GET"]),
        Route("/health/readiness", reads.ready, methods=["GET"]),
    ]
