"""What each route takes and gives, by the name of its rule in ``access.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from proxy.edge.admin.operations import OPERATIONS, Operation
from proxy.edge.openapi.bodies import ANSWER, CHAT, EMBEDDINGS, EVENTS, Schema
from proxy.edge.scrape import CONTENT_TYPE
from proxy.edge.shown import Alive, CallShown, EnergyShown, ModelList, ModelShown, NotReady, Ready
from proxy.errors import (
    DeadlineExceeded,
    EnergyExhausted,
    Forbidden,
    NotFound,
    OrchError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)

JSON = "application/json"

Shape = type[BaseModel] | Schema
Content = Mapping[str, Shape]
"""Media type -> the shape of what is sent as it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """``errors`` are those that this route has beside those of every route of its kind; ``relays`` a provider's own too."""

    summary: str
    tag: str
    answers: Mapping[int, Content]
    query: type[BaseModel] | None = None
    parameters: Sequence[Schema] = ()
    body: Shape | None = None
    headers: Sequence[str] = ()
    errors: Sequence[type[OrchError]] = ()
    relays: Sequence[str] = ()


def _header(name: str, description: str, schema: Mapping[str, Any]) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


_USER = _header("x-orch-user", "The end user, with a service key.", {"type": "string"})
_CALL: Mapping[str, Any] = MappingProxyType(
    {
        "tag": "calls",
        "parameters": (
            _USER,
            _header(
                "x-orch-action", "What the call is for; with the model's class it makes the price.", {"type": "string"}
            ),
            _header(
                "x-orch-auto-downgrade", "off: refuse rather than let a cheaper model answer.", {"enum": ["on", "off"]}
            ),
            _header("x-orch-timeout-s", "A shorter deadline, in seconds.", {"type": "number", "exclusiveMinimum": 0}),
        ),
        "headers": (
            "x-orch-model",
            "x-orch-downgraded-from",
            "x-orch-attempts",
            "x-orch-policy",
            "x-orch-overhead-ms",
            "x-orch-energy-charged",
            "x-orch-energy-remaining",
            "x-orch-cost-usd",
        ),
        "errors": (
            NotFound,
            EnergyExhausted,
            UpstreamLimited,
            UpstreamRefused,
            UpstreamUnavailable,
            UpstreamTimeout,
            DeadlineExceeded,
        ),
        "relays": ("400", "4XX"),
    }
)


def _admin(operation: Operation, method: str) -> Described:
    reads = method == "GET"
    return Described(
        summary=operation.summary,
        tag="admin",
        query=operation.question if reads else None,
        body=None if reads else operation.question,
        answers={status: {JSON: operation.answer} for status in operation.statuses},
        errors=operation.errors,
    )


_READS: Mapping[str, Described] = MappingProxyType(
    {
        "chat": Described(
            summary="A chat call", body=CHAT, answers={200: {JSON: ANSWER, "text/event-stream": EVENTS}}, **_CALL
        ),
        "embeddings": Described(summary="An embeddings call", body=EMBEDDINGS, answers={200: {JSON: ANSWER}}, **_CALL),
        "models": Described(summary="The models this key may use", tag="reads", answers={200: {JSON: ModelList}}),
        "model": Described(
            summary="One model; names may have slashes",
            tag="reads",
            answers={200: {JSON: ModelShown}},
            errors=(NotFound,),
        ),
        "call": Described(
            summary="One call that this key may see", tag="reads", answers={200: {JSON: CallShown}}, errors=(NotFound,)
        ),
        "energy": Described(
            summary="A user's points, and what each action costs",
            tag="reads",
            parameters=(
                _USER,
                _query("user", "The same. Any user's, with an admin key."),
                _query("namespace", "The user's application, with an admin key. Default: app."),
            ),
            answers={200: {JSON: EnergyShown}},
            errors=(Forbidden,),
        ),
        "metrics": Described(
            summary="Metrics for Prometheus", tag="operating", answers={200: {CONTENT_TYPE: {"type": "string"}}}
        ),
        "openapi": Described(summary="This document", tag="operating", answers={200: {JSON: {"type": "object"}}}),
    }
    | dict.fromkeys(
        ("live", "live_too"),
        Described(summary="Whether the process serves", tag="operating", answers={200: {JSON: Alive}}),
    )
    | dict.fromkeys(
        ("ready", "ready_too"),
        Described(
            summary="Whether calls can be taken", tag="operating", answers={200: {JSON: Ready}, 503: {JSON: NotReady}}
        ),
    )
)


def described(name: str, method: str) -> Described:
    operation = OPERATIONS.get(name)
    return _READS[name] if operation is None else _admin(operation, method)
