"""The guard: every request gets its id, its key is checked, its errors have OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from proxy.call import Call, Outcome, Principal, Role
from proxy.config.settings import Limits
from proxy.edge.asgi import application
from proxy.edge.context import context
from proxy.edge.gateway import Gateway, Serving
from proxy.edge.live import Live, Version
from proxy.edge.receive import BodyBudget
from proxy.errors import JournalUnavailable, OrchError, Unauthenticated
from proxy.testing import NullJournal, fake_ports

ANA = Principal(key_id="k", role=Role.USER, namespace="app", user="ana")


class OneKey:
    async def principal(self, credential: str) -> Principal:
        if credential != "right":
            raise Unauthenticated("User not authenticated: wrong key")
        return ANA


class NoRecords:
    async def balance(self, account: str) -> None:
        return None

    async def call(self, call_id: str) -> Mapping[str, Any] | None:
        return None

    async def healthy(self) -> bool:
        return True


class Dead(NullJournal):
    async def refused(self, call: Call, error: OrchError) -> None:
        raise JournalUnavailable("the store is away")


async def _unreached(call: Call) -> Outcome:
    raise AssertionError


def gateway_of(journal: NullJournal) -> Gateway:
    records = NoRecords()
    version = Version(handler=_unreached, ports=fake_ports(), limits=Limits(), prices=None)
    return Gateway(
        live=Live(version),
        keys=OneKey(),
        journal=journal,
        records=records,
        bodies=BodyBudget(1000),
        serving=Serving(),
        ready=records.healthy,
    )


async def _whoami(request: Request) -> Response:
    return PlainTextResponse(str(context(request.scope).principal.user))


async def _bug(request: Request) -> Response:
    raise ZeroDivisionError


async def _alive(request: Request) -> Response:
    return PlainTextResponse("alive")


def _client(journal: NullJournal | None = None) -> httpx.AsyncClient:
    routes = [
        Route("/v1/me", _whoami, methods=["GET"]),
        Route("/v1/chat/completions", _whoami, methods=["POST"]),
        Route("/v1/bug", _bug),
        Route("/livez", _alive),
    ]
    app = application(routes, gateway_of(journal or NullJournal()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://proxy")


RIGHT = {"authorization": "Bearer right"}


async def test_a_right_key_is_let_in_and_its_answer_carries_a_request_id() -> None:
    async with _client() as client:
        got = await client.get("/v1/me", headers=RIGHT)

    assert (got.status_code, got.text) == (200, "ana")
    assert got.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/me", "/v1/nothing", "/", "/livez/x", "//livez", "/LIVEZ"])
async def test_everything_but_the_public_paths_needs_a_key(path: str) -> None:
    async with _client() as client:
        got = await client.get(path, headers={"authorization": "Bearer wrong"})

    assert got.status_code == 401
    assert got.json()["error"]["code"] == "invalid_api_key"
    assert got.headers["x-request-id"]


async def test_a_public_path_needs_none() -> None:
    async with _client() as client:
        assert (await client.get("/livez")).status_code == 200


async def test_a_wrong_method_on_a_call_path_is_refused_and_recorded() -> None:
    journal = NullJournal()
    async with _client(journal) as client:
        got = await client.get("/v1/chat/completions", headers=RIGHT)

    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert [error.reason for error in journal.refusals] == ["method_not_allowed"]


async def test_an_unknown_path_is_refused_and_recorded() -> None:
    journal = NullJournal()
    async with _client(journal) as client:
        got = await client.post("/v1/responses", headers=RIGHT)

    assert (got.status_code, got.json()["error"]["code"]) == (404, "unknown_url")
    assert len(journal.refusals) == 1


async def test_a_refusal_that_cannot_be_recorded_is_still_the_callers_own_error() -> None:
    async with _client(Dead()) as client:
        assert (await client.post("/v1/responses", headers=RIGHT)).status_code == 404


async def test_a_bug_of_ours_shows_no_traceback() -> None:
    async with _client() as client:
        got = await client.get("/v1/bug", headers=RIGHT)

    assert got.status_code == 500
    assert got.json()["error"]["code"] == "internal_error"
    assert "ZeroDivision" not in got.text
