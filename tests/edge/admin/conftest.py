"""A proxy for the tests of ``/admin`` of one file, and a back end that speaks to it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from proxy.call import Role
from proxy.testing.running import RunningProxy, running
from tests.edge.test_access import CONFIG, MESSAGES
from tests.story.conftest import FILES


@dataclass(frozen=True, slots=True)
class BackEnd:
    """Asks with an admin key."""

    proxy: RunningProxy
    client: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(f"/admin{path}", params=query)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/admin{path}", json=body)

    async def call(self, key: str, **more: Any) -> httpx.Response:
        """A chat call with another key."""
        body = {"model": "gpt-4o-mini", "messages": MESSAGES, **more}
        return await self.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BackEnd]:
    folder = tmp_path_factory.mktemp("admin")
    shutil.copy(migrated, folder / "orch.db")
    async with running(folder, config=CONFIG, files=FILES) as proxy:
        headers = {"authorization": f"Bearer {await proxy.key(role=Role.ADMIN)}"}
        async with httpx.AsyncClient(base_url=proxy.root_url, headers=headers, trust_env=False) as client:
            yield BackEnd(proxy, client)
