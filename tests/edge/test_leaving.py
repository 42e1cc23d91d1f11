"""A connection's end: the last answer arrives though the client still sends, and nobody holds one open by not reading."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest
from starlette.types import Receive, Scope, Send

from proxy.config.settings import Limits
from proxy.edge.leaving import LINGER_BYTES_MAX
from tests.edge.wire import WAIT_S, Client, Listening, echo, request, say, serving

MIB = 2**20
LARGE = 64 * MIB
"""More than the kernel buffers on both sides."""


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has read anything."""
    await say(send, b"no", 401)


async def _sent_until_cut(client: Client) -> int:
    """Sends a body without ever reading; how much of it the server took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < LARGE:
            await client.send(b"x" * 65536)
            sent += 65536
    return sent


async def test_a_client_that_sends_on_is_answered_and_cut_off_long_before_its_body_is_through() -> None:
    async with serving(refuse, Limits(linger_s=0.2)) as server, server.client() as client:
        await client.send(request(f"content-length: {LARGE}"))
        sending = asyncio.create_task(_sent_until_cut(client))

        got = await client.answer()

        assert (got.status, got.body, got.headers["connection"]) == (401, b"no", "close")
        assert await sending < LARGE


async def test_a_client_that_sends_in_chunks_without_an_end_is_cut_off() -> None:
    async with serving(refuse, Limits(linger_s=0.1)) as server, server.client() as client:
        await client.send(request("transfer-encoding: chunked"))
        assert (await client.answer()).status == 401
        with pytest.raises(ConnectionError):
            while True:
                await client.send(b"1\r\nx\r\n")
                await asyncio.sleep(0.001)


async def test_a_client_that_reads_only_after_it_has_sent_gets_its_answer() -> None:
    """As most clients do; closed at once, the kernel's reset would take the answer from it."""
    async with serving(refuse, Limits(linger_s=300)) as server:
        answer = await asyncio.to_thread(_send_then_read, server.port, LINGER_BYTES_MAX)
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.endswith(b"no")


def _send_then_read(port: int, size: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
        client.sendall(request(f"content-length: {size}"))
        for _ in range(size // 4096):
            client.sendall(b"x" * 4096)
        answer = b""
        while part := client.recv(4096):
            answer += part
    return answer


async def test_a_client_that_closes_ends_the_wait() -> None:
    async with serving(refuse, Limits(linger_s=300)) as server:
        async with server.client() as client:
            await client.send(request("content-length: 10"))
            assert await client.rest()
        await _no_connections(server)


async def test_a_body_that_is_here_does_not_cost_the_connection() -> None:
    async with serving(refuse, Limits()) as server, server.client() as client:
        for _ in range(2):
            got = await client.asked(request(body=b"hello"))
            assert (got.status, got.headers.get("connection")) == (401, None)


# --- readers ----------------------------------------------------------------------------------------------------------


class Answering:
    """Answers with ``LARGE`` bytes; ``over`` is set once it has handed them over."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await say(send, b"x" * LARGE)
        self.over.set()


@pytest.mark.parametrize("raw", [request(), request("connection: close")], ids=["kept", "closed"])
async def test_an_answer_that_is_not_read_is_given_up(raw: bytes) -> None:
    app = Answering()
    async with serving(app, Limits(stall_s=0.1, keep_alive_s=300)) as server, server.client() as client:
        await client.send(raw)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await _no_connections(server)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            assert len(await client.rest()) < LARGE
        await app.over.wait()


async def test_an_answer_keeps_its_call_until_it_is_nearly_taken() -> None:
    app = Answering()
    async with serving(app, Limits()) as server, server.client() as client:
        await client.send(request())
        assert len(await client.reader.readexactly(MIB)) == MIB
        assert not app.over.is_set()
        await client.reader.readexactly(LARGE - MIB)
        await app.over.wait()


async def test_a_client_that_reads_slowly_but_steadily_gets_all() -> None:
    async with serving(Answering(), Limits(stall_s=1)) as server:
        size = await asyncio.to_thread(_read_slowly, server.port)
    assert size > LARGE


def _read_slowly(port: int) -> int:
    """Takes more than ``stall_s``."""
    size = 0
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
        client.sendall(request("connection: close"))
        while part := client.recv(MIB):
            size += len(part)
            time.sleep(0.02)
    return size


async def test_after_an_answer_that_was_read_slowly_the_connection_goes_on() -> None:
    async with serving(echo, Limits(stall_s=0.2)) as server, server.client() as client:
        large = request(body=b"x" * 8 * MIB)
        for _ in range(2):
            assert len((await client.asked(large)).json["body"]) == 8 * MIB


async def _no_connections(server: Listening) -> None:
    async with asyncio.timeout(WAIT_S):
        while server.server.server_state.connections:
            await asyncio.sleep(0.001)
