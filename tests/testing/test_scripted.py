"""The scripted upstream does exactly what its script says; asked here by bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from proxy.testing import (
    USAGE,
    Exchange,
    ScriptedUpstream,
    answer,
    chunk,
    close,
    delta,
    end,
    error,
    event,
    finish,
    hang,
    head,
    raw,
    reset,
    stream,
    tell,
    wait_for,
)


def post(path: str = "/v1/chat/completions", **body: Any) -> bytes:
    content = json.dumps(body).encode()
    start = f"POST {path} HTTP/1.1\r\nHost: test\r\nX-Orch-Call-Id: c1\r\nContent-Length: {len(content)}\r\n\r\n"
    return start.encode() + content


class Client:
    """A bare socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body, by content-length or in chunks."""
        self.writer.write(request)
        start = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(start.split(" ")[1])
        if "content-length: " in start:
            return status, await self.reader.readexactly(int(start.split("content-length: ")[1].split("\r\n")[0]))
        return status, await self._chunks()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body


async def connected(server: ScriptedUpstream) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", server.port))


async def hung_up(client: Client) -> None:
    client.writer.close()
    with contextlib.suppress(ConnectionResetError):  # the server may have broken it first
        await client.writer.wait_closed()


async def test_scripts_are_played_in_order_and_then_the_default() -> None:
    async with ScriptedUpstream() as server:
        server.will(error(503, "busy", headers={"retry-after": "1"}), answer({"a": 1}))
        client = await connected(server)
        status, body = await client.ask(post(model="m"))
        assert (status, json.loads(body)["error"]["message"]) == (503, "busy")
        assert await client.ask(post(model="m")) == (200, b'{"a":1}')
        status, body = await client.ask(post(model="m", n=2))
        assert (len(json.loads(body)["choices"]), json.loads(body)["usage"]) == (2, USAGE)
        server.always(error(500))
        assert (await client.ask(post(model="m")))[0] == 500
        await hung_up(client)
    assert (server.connections, len(server.requests)) == (1, 4)


async def test_each_request_is_recorded() -> None:
    async with ScriptedUpstream() as server:
        client = await connected(server)
        await client.ask(post(model="m", extra="é"))
        await hung_up(client)
    (request,) = server.requests
    assert (request.method, request.path, request.call_id) == ("POST", "/v1/chat/completions", "c1")
    assert request.body == {"model": "m", "extra": "é"}
    assert not request.hung_up.is_set()
    assert request.answered_at is not None
    assert request.received_at <= request.answered_at


async def test_a_request_in_chunks_is_read_whole() -> None:
    async with ScriptedUpstream() as server:
        client = await connected(server)
        start = b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        status, body = await client.ask(start + b'a\r\n{"input": \r\n5\r\n["a"]\r\n1\r\n}\r\n0\r\n\r\n')
        assert (status, len(json.loads(body)["data"])) == (200, 1)
        await hung_up(client)
    assert server.requests[0].body == {"input": ["a"]}


async def test_the_default_streams_and_counts_when_asked() -> None:
    async with ScriptedUpstream() as server:
        client = await connected(server)
        _, plain = await client.ask(post(model="m", stream=True))
        _, counted = await client.ask(post(model="m", stream=True, stream_options={"include_usage": True}))
        status, _ = await client.ask(post("/v1/unknown"))
        await hung_up(client)
    assert plain.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in plain
    assert b'"usage"' in counted
    assert status == 404


async def test_a_script_waits_for_the_tests_event_and_tells_where_it_is() -> None:
    there, go_on = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream() as server:
        server.will([head(), event(delta("a")), tell(there), wait_for(go_on), event(finish()), end()])
        client = await connected(server)
        asking = asyncio.ensure_future(client.ask(post()))
        await there.wait()
        assert not asking.done()
        go_on.set()
        _, body = await asking
        await hung_up(client)
    assert body.count(b"data: ") == 2


async def test_a_client_that_hangs_up_is_noticed_and_stops_the_script() -> None:
    there, never = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream() as server:
        server.will([head(), tell(there), hang(), tell(never)])
        client = await connected(server)
        client.writer.write(post())
        await there.wait()
        await hung_up(client)
        async with asyncio.timeout(5):
            await server.requests[0].hung_up.wait()
    assert server.requests[0].hung_up_at is not None
    assert not never.is_set()


@pytest.mark.parametrize("last", [close(), reset()])
async def test_a_connection_can_end_inside_an_answer(last: Any) -> None:
    async with ScriptedUpstream() as server:
        server.will([raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), last])
        client = await connected(server)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.ask(post())
        await hung_up(client)
    assert not server.requests[0].hung_up.is_set()


async def test_requests_can_be_waited_for() -> None:
    async with ScriptedUpstream() as server:
        server.always([hang()])
        clients = [await connected(server) for _ in range(2)]
        for client in clients:
            client.writer.write(post())
        assert await server.arrived(2) is server.requests[1]
        for client in clients:
            await hung_up(client)


async def test_a_script_with_a_defect_fails_the_test_that_wrote_it() -> None:
    async def defect(exchange: Exchange) -> None:
        raise KeyError("a typo")

    async def ask() -> None:
        async with ScriptedUpstream() as server:
            server.will([defect])
            client = await connected(server)
            client.writer.write(post())
            assert await client.reader.read() == b""
            await hung_up(client)

    with pytest.raises(ExceptionGroup, match="a script of the upstream failed"):
        await ask()


async def test_whole_streams_end_with_done_and_bytes_are_sent_as_they_are() -> None:
    async with ScriptedUpstream() as server:
        server.will(stream(b"junk", "text", {"a": 1}), [head(), chunk(b"\xff"), end()])
        client = await connected(server)
        assert await client.ask(post()) == (200, b'data: junk\n\ndata: text\n\ndata: {"a":1}\n\ndata: [DONE]\n\n')
        assert await client.ask(post()) == (200, b"\xff")
        await hung_up(client)
