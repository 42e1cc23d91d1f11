"""The endpoints that only read: models, the caller's own calls, energy, health. They charge nothing and record nothing."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from proxy.call import NO_PLAN, Account, Model, Role
from proxy.edge.context import context, reached
from proxy.edge.gateway import Gateway
from proxy.edge.identify import USER_HEADER, payer
from proxy.edge.shown import (
    Alive,
    CallShown,
    EnergyShown,
    ModelList,
    ModelShown,
    NotReady,
    Ready,
    Shown,
    call_fields,
)
from proxy.errors import BadRequest, Forbidden, NotFound
from proxy.journal.port import Balance
from proxy.keys import check_namespace, check_user
from proxy.policy.rights import may_use


class Reads:
    """Handlers over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def models(self, request: Request) -> Response:
        principal = context(request.scope).principal
        models = self._gateway.live.version.ports.routes.models.values()
        return answer(ModelList(data=tuple(_model(model) for model in models if may_use(principal, model.name))))

    async def model(self, request: Request) -> Response:
        name = request.path_params["id"]
        model = self._gateway.live.version.ports.routes.models.get(name)
        if model is None or not may_use(context(request.scope).principal, name):
            raise NotFound(
                f"No model named {name[:100]!r}. GET /v1/models lists what exists.",
                reason="model_not_found",
                param="model",
            )
        return answer(_model(model))

    async def call(self, request: Request) -> Response:
        """One call, if the caller may see it."""
        call_id = request.path_params["id"]
        row = await self._gateway.records.call(call_id)
        if row is None or not reached(request.scope).covers(namespace=row["namespace"], user=row["user_id"]):
            raise NotFound(f"No call {call_id[:100]!r} of yours.", reason="call_not_found")
        return answer(CallShown.model_validate(call_fields(row)))

    async def energy(self, request: Request) -> Response:
        """The payer's balance and what each action costs now. An account that does not exist yet shows what it would open with."""
        account = _payer(request)
        assert reached(request.scope).covers(namespace=account.namespace, user=account.user)
        balance = self._as_of_the_next_call(account, await self._gateway.records.balance(account.id))
        version = self._gateway.live.version
        prices = version.prices
        costs = {} if prices is None else prices.shown(available=balance.available, models=version.ports.routes.models)
        shown = EnergyShown(
            user=account.user,
            plan=balance.plan,
            balance=balance.balance,
            held=balance.held,
            available=balance.available,
            **costs,
        )
        return answer(shown)

    def _as_of_the_next_call(self, account: Account, found: Balance | None) -> Balance:
        """The account, opened as its next priced call would open it."""
        prices = self._gateway.live.version.prices
        now = found or Balance(account=account.id, plan=NO_PLAN, balance=0, held=0)
        if prices is None or now.plan != NO_PLAN:
            return now
        opening = prices.opening()
        return replace(now, plan=opening.plan, balance=now.balance + opening.points)

    async def live(self, request: Request) -> Response:
        """The process serves. Touches neither store nor provider."""
        return answer(Alive())

    async def ready(self, request: Request) -> Response:
        """The process can take calls: started, and its store takes writes."""
        if await self._gateway.ready():
            return answer(Ready(policy=self._gateway.live.version.ports.policy_version))
        return answer(NotReady(), status=503)


def _payer(request: Request) -> Account:
    """Whose energy is asked for: with an admin key anybody's, by ``?user=`` and ``?namespace=``."""
    ctx, query = context(request.scope), request.query_params
    user = _one("user", [*query.getlist("user"), *filter(None, [ctx.headers.get(USER_HEADER)])])
    namespace = _one("namespace", query.getlist("namespace"))
    if ctx.principal.role is Role.ADMIN:
        if user is None:
            raise BadRequest("Name the user whose energy you ask for: ?user=", param="user")
        return Account(check_namespace(namespace or ctx.principal.namespace), check_user(user))
    if namespace not in (None, ctx.principal.namespace):
        raise Forbidden(f"This key belongs to another namespace than {namespace!r}. Leave namespace out.")
    return payer(ctx.principal, header=user, body_user=None)


def _one(name: str, given: list[str]) -> str | None:
    if len(set(given)) > 1:
        raise BadRequest(f"The request names more than one {name}. Name one.", param=name)
    return given[0] if given else None


def answer(shown: Shown, *, status: int = 200) -> Response:
    return Response(shown.model_dump_json(), status_code=status, media_type="application/json")


def _model(model: Model) -> ModelShown:
    return ModelShown(id=model.name, owned_by=model.deployments[0].provider)
