"""``orch serve`` as an operator runs it: when it refuses to start, how it says how it is, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import ScriptedUpstream, delta, done, end, event, finish, hang, head, role, wait_for
from tests.processes import Child, Served, broken, closed, connects, ran, rows, serving, until, write
from tests.story.conftest import FILES, config

STREAM: Any = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
STARTED = [head(), event(role()), event(delta("Hel"))]
HEALTH = ("/livez", "/readyz", "/health/liveliness", "/health/readiness")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    write(tmp_path, {"config.yaml": config(upstream), **FILES})


def orderly(child: Child) -> None:
    """It said nothing that frightens an operator."""
    assert not re.search(r"Traceback|Exception|Error\b|never retrieved", child.err.text), child.err.text


# --- starting ---------------------------------------------------------------------------------------------------------


async def test_whoever_reads_the_first_line_can_connect_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, httpx.AsyncClient() as client:
        assert (await client.get(f"{served.root_url}/livez")).status_code == 200


async def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        code, out, err = await ran("serve", "--listen", address, cwd=tmp_path)

    assert (code, out) == (1, "")
    assert err.startswith(f"orch: cannot listen on {address}: Address already in use by process ")
    assert err.endswith(". Stop what uses it, or set server.listen (or --listen) to another.")


async def test_a_second_proxy_on_the_same_store_is_told_who_holds_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, httpx.AsyncClient() as client:
        code, out, err = await ran("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)

        assert (await client.get(f"{served.root_url}/readyz")).status_code == 200
    assert (code, out) == (3, "")
    assert err.startswith(f"orch: {tmp_path / 'orch.db'} is in use by process {served.child.pid} ")
    assert "\n" not in err


async def test_an_address_open_to_others_is_refused_without_an_admin_key(tmp_path: Path) -> None:
    code, out, err = await ran("serve", "--listen", "0.0.0.0:0", cwd=tmp_path)

    assert (code, out) == (1, "")
    assert err.startswith(
        "orch: 0.0.0.0:0 can be reached from other machines and there is no admin key. Set ORCH_ADMIN_"
    )


async def test_an_address_open_to_others_is_served_with_an_admin_key(tmp_path: Path) -> None:
    environ = {"ORCH_ADMIN_KEY": "an-admin-key-of-some-length"}
    async with serving(tmp_path, "--listen", "0.0.0.0:0", environ=environ) as served, httpx.AsyncClient() as client:
        root_url = served.root_url.replace("0.0.0.0", "127.0.0.1")
        headers = {"authorization": f"Bearer {environ['ORCH_ADMIN_KEY']}"}
        assert (await client.get(f"{root_url}/v1/models", headers=headers)).status_code == 200


async def test_a_configuration_with_errors_is_refused_with_all_of_them(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    policies = FILES["policies/default.yaml"].replace("backoff_s: 0.01", "backoff_s: often")
    write(tmp_path, {"config.yaml": config(upstream, "limit: {}"), "policies/default.yaml": policies})

    code, out, err = await ran("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)

    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert re.match(r"config\.yaml:\d+:1 limit: .*did you mean 'limits'\?", first)
    assert re.match(r"policies/default\.yaml:6:28 policies\[4\]\.retry\.backoff_s: ", second)
    assert not (tmp_path / "secret").exists()


# --- health -----------------------------------------------------------------------------------------------------------


async def test_liveness_answers_while_another_process_holds_the_store_by_force(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, httpx.AsyncClient(base_url=served.root_url) as client:
        assert [(await client.get(path)).status_code for path in HEALTH] == [200] * 4

        with contextlib.closing(sqlite3.connect(served.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await _becomes(client, "/readyz", 503)
            assert [(await client.get(path)).status_code for path in HEALTH] == [200, 503, 200, 503]

        await _becomes(client, "/readyz", 200)
        assert (await client.get("/health/readiness")).json()["status"] == "ready"


async def _becomes(client: httpx.AsyncClient, path: str, status: int) -> None:
    async with asyncio.timeout(30):
        while (await client.get(path)).status_code != status:
            await asyncio.sleep(0.05)


# --- ending -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(served: Served) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    """A stream of which the first content has been read."""
    key = await served.user_key("ana", energy=100)
    async with (
        httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {key}"}) as client,
        client.stream("POST", f"{served.base_url}/chat/completions", json=STREAM) as response,
    ):
        parts = response.aiter_raw()
        received = b""
        while b"Hel" not in received:
            received += await anext(parts)
        yield response, parts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_running_stream_finish_and_takes_no_new_calls(
    tmp_path: Path, upstream: ScriptedUpstream, number: signal.Signals
) -> None:
    moment = asyncio.Event()
    upstream.will([*STARTED, wait_for(moment), event(delta("lo")), event(finish()), done(), end()])
    async with serving(tmp_path) as served:
        async with streaming(served) as (_, parts):
            served.child.send(number)
            await until(lambda: not connects(served.port))
            moment.set()
            assert b"".join([part async for part in parts]).endswith(b"data: [DONE]\n\n")

        assert await served.child.ended() == 0
    orderly(served.child)
    row = await closed(served.database, str(upstream.requests[0].call_id))
    assert (row["how"], row["points_charged"]) == ("answered", 3)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stream_longer_than_the_drain_is_cut_told_and_free(
    tmp_path: Path, upstream: ScriptedUpstream, number: signal.Signals
) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "limits: {drain_s: 0}")})
    upstream.will([*STARTED, hang()])
    async with serving(tmp_path) as served:
        async with streaming(served) as (_, parts):
            served.child.send(number)
            rest = b"".join([part async for part in parts])

        assert await served.child.ended() == 0
    assert b'"code":"shutdown"' in rest
    assert b"[DONE]" not in rest
    assert upstream.requests[0].hung_up.is_set()
    await _cut_and_free(served, upstream)


async def test_a_second_ctrl_c_cuts_at_once_what_the_first_one_waits_for(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "limits: {drain_s: 600}")})
    upstream.will([*STARTED, hang()])
    async with serving(tmp_path) as served:
        async with streaming(served) as (_, parts):
            served.child.send(signal.SIGINT)
            await until(lambda: not connects(served.port))
            served.child.send(signal.SIGINT)
            assert b'"code":"shutdown"' in b"".join([part async for part in parts])

        assert await served.child.ended() == 0
    await _cut_and_free(served, upstream)


async def test_an_upload_longer_than_the_drain_is_refused_so_that_the_client_tries_again(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    write(tmp_path, {"config.yaml": config(upstream, "limits: {drain_s: 0}")})
    async with serving(tmp_path) as served:
        key = await served.user_key("ana", energy=100)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 99\r\n"
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        served.child.send(signal.SIGTERM)

        answer = await reader.read()
        assert await served.child.ended() == 0
        writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutdown"' in answer
    orderly(served.child)
    (row,) = rows(served.database).values()
    assert (row["state"], row["error"]) == ("refused", "shutdown")


async def test_an_idle_connection_does_not_keep_the_proxy_from_ending(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, httpx.AsyncClient(base_url=served.root_url) as client:
        await client.get("/livez")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")  # a head that never ends
        await client.get("/livez")
        served.child.send(signal.SIGTERM)

        assert await served.child.ended() == 0
        assert await reader.read() == b""
        writer.close()
    orderly(served.child)


async def _cut_and_free(served: Served, upstream: ScriptedUpstream) -> None:
    orderly(served.child)
    row = rows(served.database)[str(upstream.requests[0].call_id)]
    assert (row["state"], row["how"], row["points_charged"]) == ("closed", "shutdown", 0)
    assert await broken(served.database) == []
