"""A small application behind the receiving protocol on a real socket, and a client that sends bytes as they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.config.settings import Limits
from proxy.edge.protocol import receiver
from proxy.server import Server, claim

WAIT_S = 30
"""The bound of every wait, far beyond what any takes; reaching it is a failure."""


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> Answered:
        """The next answer; one in chunks is left to the test."""
        async with asyncio.timeout(WAIT_S):
            status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answered(int(status_line.split()[1]), headers, body)

    async def asked(self, raw: bytes) -> Answered:
        await self.send(raw)
        return await self.answer()

    async def rest(self) -> bytes:
        """All that still comes until the server closes."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read()


class Listening:
    """Where the application listens."""

    def __init__(self, port: int, server: Server) -> None:
        self.port = port
        self.server = server

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**26)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(app: ASGIApp, limits: Limits | Callable[[], Limits]) -> AsyncIterator[Listening]:
    """``app`` behind the protocol, until the block ends."""
    in_force = limits if callable(limits) else lambda: limits
    config = uvicorn.Config(
        app,
        http=receiver(in_force),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    with contextlib.closing(claim("127.0.0.1:0")) as claimed:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[claimed]))
            try:
                await server.up.wait()
                yield Listening(claimed.getsockname()[1], server)
            finally:
                server.should_exit = True


def refused(got: Answered) -> str:
    """The message of an error in OpenAI's shape that says the connection ends."""
    assert set(got.json["error"]) == {"message", "type", "param", "code"}
    assert got.headers["content-type"] == "application/json"
    assert len(got.headers["x-request-id"]) == 36
    assert got.headers["connection"] == "close"
    return str(got.json["error"]["message"])


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked, once it has the whole body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "body": body.decode("latin-1"),
        "headers": [name.decode() for name, _ in scope["headers"]],
    }
    await say(send, json.dumps(seen).encode())


async def say(send: Send, body: bytes, status: int = 200) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def request(*headers: str, method: str = "POST", path: str = "/", body: bytes = b"") -> bytes:
    """A request with one Host; with a body, its length."""
    length = [f"content-length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *headers, *length, "", ""]).encode() + body
