"""What only reads: models, calls, energy, health; and who may read what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.call import Role
from proxy.keys import NewKey
from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES, config

pytestmark = pytest.mark.usefixtures("store")

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with ScriptedUpstream() as upstream, running(tmp_path, config=config(upstream), files=FILES) as served:
        yield served


async def _get(proxy: RunningProxy, path: str, key: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"} | named) as client:
        return await client.get(proxy.base_url + path)


async def _call(proxy: RunningProxy, key: str, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"} | named) as client:
        return str((await client.post(f"{proxy.base_url}/chat/completions", json=CHAT)).headers["x-request-id"])


async def test_a_call_is_read_by_its_user_its_service_and_an_admin_and_by_nobody_else(proxy: RunningProxy) -> None:
    ana, ben = await proxy.user_key("ana"), await proxy.user_key("ben")
    service, admin = await proxy.service_key(), await proxy.key(role=Role.ADMIN)
    stranger = await proxy.parts.keyring.create(NewKey(role=Role.SERVICE, namespace="other"))
    call_id = await _call(proxy, ana)

    statuses = [(await _get(proxy, f"/calls/{call_id}", key)).status_code for key in (ana, service, admin)]
    others = [(await _get(proxy, f"/calls/{call_id}", key)).status_code for key in (ben, stranger[1])]

    assert statuses == [200, 200, 200]
    assert others == [404, 404]


async def test_a_call_shows_model_attempts_energy_and_cost(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana")

    shown = (await _get(proxy, f"/calls/{await _call(proxy, key)}", key)).json()

    assert (shown["object"], shown["model"], shown["state"], shown["how"]) == (
        "call",
        "gpt-4o-mini",
        "closed",
        "answered",
    )
    assert shown["energy"] == {"held": 0, "charged": 3, "refunded": 0}
    assert shown["usage"] == {"input_tokens": 12, "output_tokens": 7, "cached_input_tokens": 0, "estimated": False}
    assert [(attempt["status"], attempt["model"]) for attempt in shown["attempts"]] == [(200, "gpt-4o-mini")]
    assert shown["cost_usd"] == "0.000006"
    assert shown["policy_version"] == proxy.parts.gateway.live.version.ports.policy_version


async def test_energy_shows_what_an_account_has_or_would_open_with(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana")
    before = (await _get(proxy, "/energy", key)).json()
    await _call(proxy, key)

    after = (await _get(proxy, "/energy", key)).json()

    assert (before["available"], after["available"], after["held"], after["plan"]) == (100, 97, 0, "free")
    assert after["actions"]["ai_message"]["points"] == {"premium": 10, "economy": 3}


async def test_a_service_key_reads_the_energy_of_the_user_it_names(proxy: RunningProxy) -> None:
    service = await proxy.service_key()

    assert (await _get(proxy, "/energy", service, x_orch_user="ben")).json()["user"] == "ben"
    assert (await _get(proxy, "/energy?user=ben", service)).json()["user"] == "ben"
    assert (await _get(proxy, "/energy", service)).status_code == 400
    assert (await _get(proxy, "/energy?user=ben&user=ana", service)).status_code == 400
    assert (await _get(proxy, "/energy?user=ben", service, x_orch_user="ana")).status_code == 400


async def test_a_user_key_does_not_read_anothers_energy(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana")

    assert (await _get(proxy, "/energy", key, x_orch_user="ben")).status_code == 403
    assert (await _get(proxy, "/energy?user=ben", key)).status_code == 403


async def test_a_key_sees_only_the_models_it_may_use(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana", models=("gpt-4o-*",))

    listed = (await _get(proxy, "/models", key)).json()

    assert [model["id"] for model in listed["data"]] == ["gpt-4o-mini"]
    assert (await _get(proxy, "/models/gpt-4o-mini", key)).status_code == 200
    assert (await _get(proxy, "/models/gpt-4o", key)).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health/liveliness", "/health/readiness"])
async def test_health_needs_no_key(proxy: RunningProxy, path: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(proxy.root_url + path)).status_code == 200
