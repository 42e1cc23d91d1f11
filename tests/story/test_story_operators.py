"""Operators on a listener of their own: where it is served, while calls drain, and where it is refused."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from proxy.testing import ScriptedUpstream, delta, done, end, event, finish, head, role, wait_for
from tests.processes import connects, ran, serving, until, write
from tests.story.conftest import FILES, config

ENVIRON = {"ORCH_ADMIN_KEY": "an-admin-key-of-some-length"}
OPERATOR = {"authorization": f"Bearer {ENVIRON['ORCH_ADMIN_KEY']}"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "admin: {listen: '127.0.0.1:0'}"), **FILES})


async def test_operators_can_watch_a_drain_and_the_process_ends_in_order(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    go = asyncio.Event()
    upstream.will([head(), event(role()), event(delta("Hel")), wait_for(go), event(finish()), done(), end()])
    stream = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with serving(tmp_path, environ=ENVIRON) as served, httpx.AsyncClient(timeout=60) as client:
        operators = (await served.child.out.said(r"operators: (http://\S+)/admin"))[1]
        key = {"authorization": f"Bearer {await served.user_key('ana', energy=100)}"}
        async with client.stream("POST", f"{served.base_url}/chat/completions", json=stream, headers=key) as response:
            parts = response.aiter_raw()
            await anext(parts)
            served.child.send(signal.SIGTERM)
            await until(lambda: not connects(served.port))
            shown = await client.get(f"{operators}/admin/health", headers=OPERATOR)
            go.set()
            rest = b"".join([part async for part in parts])

        assert shown.json()["calls_running"] == 1
        assert b"[DONE]" in rest
        assert await served.child.ended() == 0
        assert not connects(int(operators.rpartition(":")[2]))
        assert "Traceback" not in served.child.err.text


async def test_operators_are_not_served_to_other_machines_without_an_admin_key(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "admin: {listen: '0.0.0.0:0'}")})

    code, out, err = await ran("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)

    assert (code, out) == (1, "")
    assert err.startswith("orch: 0.0.0.0:0 can be reached from other machines and there is no admin key.")


async def test_two_listeners_cannot_have_one_address(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "admin: {listen: '127.0.0.1:4711'}")})

    code, _, err = await ran("serve", "--listen", "127.0.0.1:4711", cwd=tmp_path)

    assert code == 1
    assert err == (
        "orch: server.listen (or --listen) and admin.listen are both at port 4711. Set one of them to another."
    )
