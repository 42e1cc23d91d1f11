"""``GET /openapi.json``: without a key, the same every time, of what this listener serves."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from proxy.edge.access import ACCESS, Door, served_at
from proxy.edge.openapi.document import document
from proxy.testing.running import running
from tests.edge.test_access import CONFIG
from tests.story.conftest import FILES


@pytest.mark.usefixtures("store")
async def test_it_is_read_without_a_key(tmp_path: Path) -> None:
    async with (
        running(tmp_path, config=CONFIG, files=FILES) as proxy,
        httpx.AsyncClient(base_url=proxy.root_url, trust_env=False) as client,
    ):
        first, again = [await client.get("/openapi.json") for _ in range(2)]

    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.json() == document(ACCESS)
    assert first.content == again.content


@pytest.mark.usefixtures("store")
async def test_operators_have_a_listener_of_their_own_where_it_is_wanted(tmp_path: Path) -> None:
    config = f"{CONFIG}\nadmin: {{listen: '127.0.0.1:0'}}\n"
    async with (
        running(tmp_path, config=config, files=FILES, environ={"ORCH_ADMIN_KEY": "a-secret-of-operators"}) as proxy,
        httpx.AsyncClient(trust_env=False, headers={"x-api-key": "a-secret-of-operators"}) as client,
    ):
        assert proxy.root_url != proxy.operators_url
        for path, door in (("/admin/health", Door.ADMIN), ("/metrics", Door.ADMIN), ("/v1/models", Door.MAIN)):
            statuses = [(await client.get(root + path)).status_code for root in (proxy.root_url, proxy.operators_url)]
            assert statuses == ([200, 404] if door is Door.MAIN else [404, 200]), path
        for root, door in ((proxy.root_url, Door.MAIN), (proxy.operators_url, Door.ADMIN)):
            assert (await client.get(f"{root}/readyz")).status_code == 200
            assert (await client.get(f"{root}/openapi.json")).json() == document(served_at(door))
