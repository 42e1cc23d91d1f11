"""The endpoint of an operation: bodies, and what goes wrong, as HTTP."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from proxy.edge.admin import endpoint
from proxy.edge.admin.desk import Desk
from proxy.edge.admin.endpoint import OPERATION_S, AdminEndpoint
from proxy.errors import JournalUnavailable
from proxy.journal.admin import DirectAdmin
from proxy.testing import NullJournal
from tests.edge.admin.conftest import BackEnd
from tests.edge.test_asgi import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_type"),
        (b"\xff", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"user": "ana", "points": NaN}', 400, "invalid_json"),
        (b'{"user": "\\ud800", "points": 1}', 400, "invalid_request"),
        (b'{"user": "ana", "points": 1, "reason": "\\ud800"}', 400, "invalid_value"),
        (b'{"user": "ana", "points": 123456789012345678901234567890}', 400, "invalid_value"),
    ],
)
async def test_a_body_that_is_none_is_refused(backend: BackEnd, body: bytes, status: int, code: str) -> None:
    got = await backend.client.post("/admin/users/grants", content=body)

    assert (got.status_code, got.json()["error"]["code"]) == (status, code)


async def test_a_compressed_body_is_refused(backend: BackEnd) -> None:
    got = await backend.client.post("/admin/users", content=b"x", headers={"content-encoding": "gzip"})

    assert (got.status_code, got.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_what_asks_nothing_needs_no_body_and_takes_an_empty_one(backend: BackEnd) -> None:
    answers = [await backend.client.post("/admin/reload", content=body) for body in (b"", b"{}", b'{"now": true}')]

    assert [answer.status_code for answer in answers] == [200, 200, 400]


async def test_who_did_what_is_logged_and_reading_is_not(backend: BackEnd, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="proxy.admin"):
        await backend.post("/users", user="logged")
        await backend.get("/users")

    (line,) = [record.getMessage() for record in caplog.records if record.name == "proxy.admin"]
    assert line.startswith("admin_open_user by key ")
    assert "logged" not in line


class Stuck:
    async def totals(self) -> None:
        await asyncio.Event().wait()


async def test_a_store_that_does_not_answer_is_not_waited_for_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "OPERATION_S", OPERATION_S / 10_000)
    desk = Desk(gateway=gateway_of(NullJournal()), admin=cast(DirectAdmin, None), books=cast(Any, Stuck()))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "query_string": b"", "path_params": {}, "headers": []}

    async def nothing(*_: object) -> Any:
        raise AssertionError

    with pytest.raises(JournalUnavailable, match="did not answer within"):
        await AdminEndpoint(desk, "admin_health")(scope, nothing, nothing)
