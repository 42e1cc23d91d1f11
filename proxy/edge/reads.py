"""The endpoints that only read: models, the caller's own calls, energy, health. They charge nothing and record nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from proxy.call import Account, Model, Principal, Role
from proxy.edge.context import context
from proxy.edge.gateway import Gateway
from proxy.edge.headers import usd
from proxy.edge.identify import USER_HEADER, payer
from proxy.errors import BadRequest, NotFound
from proxy.journal.port import Balance
from proxy.policy.rights import may_use


class Reads:
    """Handlers over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def models(self, request: Request) -> Response:
        principal = context(request.scope).principal
        models = self._gateway.live.version.ports.routes.models.values()
        return _json({"object": "list", "data": [_model(model) for model in models if may_use(principal, model.name)]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["id"]
        model = self._gateway.live.version.ports.routes.models.get(name)
        if model is None or not may_use(context(request.scope).principal, name):
            raise NotFound(
                f"No model named {name[:100]!r}. GET /v1/models lists what exists.",
                reason="model_not_found",
                param="model",
            )
        return _json(_model(model))

    async def call(self, request: Request) -> Response:
        """One call of the caller's own: a user key sees its user's, a service key its namespace's, an admin key every one."""
        call_id = request.path_params["id"]
        row = await self._gateway.records.call(call_id)
        if row is None or not _owns(context(request.scope).principal, row):
            raise NotFound(f"No call {call_id[:100]!r} of yours.", reason="call_not_found")
        return _json(_call(row))

    async def energy(self, request: Request) -> Response:
        """The payer's balance and what each action costs now. An account that does not exist yet shows what it would open with."""
        ctx = context(request.scope)
        header = _one_user([*request.query_params.getlist("user"), *filter(None, [ctx.headers.get(USER_HEADER)])])
        account = payer(ctx.principal, header=header, body_user=None)
        balance = await self._gateway.records.balance(account.id) or self._opening(account)
        shown: dict[str, Any] = {
            "object": "energy",
            "user": account.user,
            "plan": balance.plan,
            "balance": balance.balance,
            "held": balance.held,
            "available": balance.available,
        }
        version = self._gateway.live.version
        if version.prices is not None:
            shown |= version.prices.shown(available=balance.available, models=version.ports.routes.models)
        return _json(shown)

    def _opening(self, account: Account) -> Balance:
        prices = self._gateway.live.version.prices
        if prices is None:
            return Balance(account=account.id, plan="", balance=0, held=0)
        opening = prices.opening()
        return Balance(account=account.id, plan=opening.plan, balance=opening.points, held=0)

    async def live(self, request: Request) -> Response:
        """The process serves. Touches neither store nor provider."""
        return _json({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """The process can take calls: started, and its store takes writes."""
        if await self._gateway.ready():
            return _json({"status": "ready", "policy": self._gateway.live.version.ports.policy_version})
        return _json({"status": "not ready", "reason": "the store does not take writes"}, status=503)


def _one_user(named: list[str]) -> str | None:
    if len(set(named)) > 1:
        raise BadRequest("The request names more than one user. Name one.", param="user")
    return named[0] if named else None


def _json(value: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def _model(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.deployments[0].provider}


def _owns(principal: Principal, row: Mapping[str, Any]) -> bool:
    match principal.role:
        case Role.ADMIN:
            return True
        case Role.SERVICE:
            return str(row["account"]).startswith(f"{principal.namespace}/")
        case Role.USER:
            assert principal.user is not None
            return bool(row["account"] == Account(principal.namespace, principal.user).id)


_AS_STORED = (
    "id",
    "state",
    "how",
    "operation",
    "action",
    "requested_model",
    "model",
    "downgraded_from",
    "provider",
    "upstream",
    "error",
    "policy_version",
    "price_version",
    "created_at",
    "closed_at",
    "first_content_ms",
    "duration_ms",
)


def _call(row: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"object": "call"} | {name: row[name] for name in _AS_STORED}
    cost = row["cost_nanousd"]
    shown["energy"] = {
        "held": row["points_held"] if row["state"] == "open" else 0,
        "charged": row["points_charged"],
        "refunded": row["points_refunded"],
    }
    shown["cost_usd"] = None if cost is None else usd(cost)
    shown["usage"] = {
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cached_input_tokens": row["cached_input_tokens"],
        "estimated": bool(row["usage_estimated"]),
    }
    attempts = row["attempts"]
    shown["attempts"] = orjson.loads(attempts) if attempts else []
    return shown
