"""A thousand clients that take their time with their requests, and one that does not, on one proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy, running
from tests.processes import serving, write
from tests.story.conftest import FILES, config

SLOW = 1000
FILES_NEEDED = 4096
WAIT_S = 60
CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
HALF_A_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: "

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of every connection may be open in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_NEEDED:
        pytest.skip(f"this machine lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES_NEEDED), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def connected(root_url: str, count: int, begin: bytes) -> AsyncIterator[list[Connection]]:
    """So many connections, each of which has sent ``begin``."""
    port = int(root_url.rpartition(":")[2])
    connections: list[Connection] = []
    try:
        for _ in range(count):
            connections.append(await asyncio.open_connection("127.0.0.1", port))
            connections[-1][1].write(begin)
        yield connections
    finally:
        for _, writer in connections:
            writer.close()
        for _, writer in connections:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _drip(connections: list[Connection]) -> None:
    """One byte more from each, again and again."""
    while True:
        for _, writer in connections:
            writer.write(b"a")
        await asyncio.sleep(0.05)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and error code of the answer that ends a connection."""
    raw = await reader.read()
    return int(raw.split(b" ")[1]), json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["code"]


async def _chats(proxy_url: str, key: str, count: int) -> list[int]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=WAIT_S) as client:
        return [(await client.post(f"{proxy_url}/chat/completions", json=CHAT)).status_code for _ in range(count)]


async def test_a_thousand_slow_heads_do_not_stop_other_calls(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with (
        running(tmp_path, config=config(upstream), files=FILES) as proxy,
        connected(proxy.root_url, SLOW, HALF_A_HEAD) as slow,
    ):
        key = await proxy.user_key("ana", energy=100)
        dripping = asyncio.create_task(_drip(slow))
        assert await _chats(proxy.base_url, key, 10) == [200] * 10
        assert not any(reader.at_eof() for reader, _ in slow)
        dripping.cancel()


async def test_slow_heads_are_ended_by_their_deadline_however_they_drip(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with (
        running(tmp_path, config=config(upstream, "limits: {head_s: 1}"), files=FILES) as proxy,
        connected(proxy.root_url, SLOW, HALF_A_HEAD) as slow,
    ):
        dripping = asyncio.create_task(_drip(slow))
        async with asyncio.timeout(WAIT_S):
            answers = await asyncio.gather(*(_answer(reader) for reader, _ in slow))
        dripping.cancel()
        assert set(answers) == {(408, "request_timeout")}
        assert await _chats(proxy.base_url, await proxy.user_key("ana", energy=100), 1) == [200]


async def test_slow_bodies_of_a_known_caller_take_no_calls_place(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    limits = "limits: {calls_max: 1, body_s: 1}"
    async with running(tmp_path, config=config(upstream, limits), files=FILES) as proxy:
        key = await proxy.user_key("ana", energy=100)
        async with connected(proxy.root_url, 100, _half_a_body(key)) as slow:
            assert await _chats(proxy.base_url, key, 1) == [200]
            async with asyncio.timeout(WAIT_S):
                answers = await asyncio.gather(*(_answer(reader) for reader, _ in slow))
        assert set(answers) == {(408, "request_timeout")}
        assert len(upstream.requests) == 1
        await _idle(proxy)


def _half_a_body(key: str) -> bytes:
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {key}", "content-length: 1000")
    return ("\r\n".join(lines) + '\r\n\r\n{"model":').encode()


async def _idle(proxy: RunningProxy) -> None:
    async with asyncio.timeout(WAIT_S):
        await proxy.parts.gateway.serving.idle.wait()
    assert proxy.parts.gateway.bodies._taken == 0


async def test_connections_over_the_cap_are_told_so_and_those_that_were_there_go_on(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    limits = "limits: {connections_max: 100}"
    async with running(tmp_path, config=config(upstream, limits), files=FILES) as proxy:
        key = await proxy.user_key("ana", energy=100)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=WAIT_S) as early:
            assert (await early.post(f"{proxy.base_url}/chat/completions", json=CHAT)).status_code == 200
            async with connected(proxy.root_url, 99, HALF_A_HEAD), connected(proxy.root_url, 20, b"") as late:
                answers = await asyncio.gather(*(_answer(reader) for reader, _ in late))
                assert set(answers) == {(503, "overloaded")}
                assert (await early.post(f"{proxy.base_url}/chat/completions", json=CHAT)).status_code == 200


async def test_an_error_before_the_body_is_here_arrives(proxy: RunningProxy) -> None:
    """The key is wrong, the body large, and like most clients this one sends all of it before it reads."""
    async with httpx.AsyncClient(headers={"authorization": "Bearer sk-orch-none_none"}, timeout=WAIT_S) as client:
        for size in (1, 100_000, 8_000_000):
            body = {**CHAT, "messages": [{"role": "user", "content": "x" * size}]}
            got = await client.post(f"{proxy.base_url}/chat/completions", json=body)
            assert (got.status_code, got.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_the_process_lets_itself_open_the_files_its_limits_allow_for(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        write(tmp_path, {"config.yaml": config(upstream), **FILES})
        async with serving(tmp_path) as served:
            allowed = resource.prlimit(served.child.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert allowed == (4096 + 256 + 256 + 256, hard)
