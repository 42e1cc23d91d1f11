"""The scripted upstream: a real HTTP server on loopback that answers, and misbehaves, exactly as a test says.

A script is a sequence of steps; each request takes the next one; when none is left, it answers like OpenAI::

    async with ScriptedUpstream() as upstream:
        upstream.will(error(500), stream(delta("Hi"), finish()), [head(), event(delta("H")), wait_for(seen), reset()])
        ...                                  # ask it at upstream.base_url
        assert upstream.requests[0].call_id == "..."
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from proxy.dialect.body import dump
from proxy.testing.shapes import Json, completion, default_stream, embeddings
from proxy.upstream.port import CALL_ID_HEADER

Step = Callable[["Exchange"], Awaitable[None]]
Script = Sequence[Step]

JSON_TYPE = {"content-type": "application/json"}
SSE_TYPE = {"content-type": "text/event-stream"}
HEAD_BYTES_MAX = 256 * 1024


@dataclass(slots=True)
class Received:
    """One request as it came in. Times are monotonic seconds; header names are lower case.

    ``hung_up`` is set when the client closed the connection before the script was through.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    received_at: float
    answered_at: float | None = None
    hung_up_at: float | None = None
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def call_id(self) -> str | None:
        return self.headers.get(CALL_ID_HEADER)

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Exchange:
    """One request and the bytes that answer it; what the steps of a script act on."""

    def __init__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.writer = writer
        self.closed = False

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    def close(self, *, linger: bytes = b"") -> None:
        """Close the connection; with ``linger`` (a packed SO_LINGER) as it says."""
        sock: socket.socket | None = self.writer.get_extra_info("socket")
        if linger and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.closed = True
        self.writer.close()


# --- steps -----------------------------------------------------------------------------------------------------------


def raw(received: bytes) -> Step:
    """These bytes, exactly, on the wire."""
    return lambda exchange: exchange.write(received)


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
    """Status line and headers. Default: an event stream in HTTP chunks."""
    return raw(_head(status, headers if headers is not None else {**SSE_TYPE, "transfer-encoding": "chunked"}))


def chunk(body: bytes) -> Step:
    """One HTTP chunk."""
    return raw(b"%x\r\n%s\r\n" % (len(body), body))


def event(payload: Json | str | bytes) -> Step:
    """One SSE event in an HTTP chunk of its own; bytes are the payload as they are."""
    return chunk(b"data: " + _encoded(payload) + b"\n\n")


def done() -> Step:
    return event(b"[DONE]")


def end() -> Step:
    """The last HTTP chunk: the body ended as it should."""
    return raw(b"0\r\n\r\n")


def wait_for(moment: asyncio.Event) -> Step:
    async def step(exchange: Exchange) -> None:
        await moment.wait()

    return step


def tell(moment: asyncio.Event) -> Step:
    """Set ``moment``: the script got here."""

    async def step(exchange: Exchange) -> None:
        moment.set()

    return step


def hang() -> Step:
    """Say nothing more until the client hangs up."""
    return wait_for(asyncio.Event())


def close() -> Step:
    """Close the connection in an orderly way (FIN)."""

    async def step(exchange: Exchange) -> None:
        exchange.close()

    return step


def reset() -> Step:
    """Break the connection (RST)."""

    async def step(exchange: Exchange) -> None:
        await asyncio.sleep(0)  # let what was written reach the socket's buffer first
        exchange.close(linger=struct.pack("ii", 1, 0))

    return step


# --- whole scripts ---------------------------------------------------------------------------------------------------


def answer(body: Json | bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """A whole answer with its content-length; JSON unless ``headers`` say otherwise."""
    content = _encoded(body)
    return [raw(_head(status, {**JSON_TYPE, **(headers or {}), "content-length": str(len(content))}) + content)]


def error(
    status: int,
    message: str = "scripted error",
    *,
    code: str | None = None,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Script:
    """An OpenAI-shaped error."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return answer(body, status=status, headers=headers)


def stream(*payloads: Json | str | bytes) -> Script:
    """An event stream of these payloads that ends as it should, with ``[DONE]``."""
    return [head(), *map(event, payloads), done(), end()]


async def default_answer(exchange: Exchange) -> None:
    """Answer like OpenAI: chat (streamed if asked, usage if asked) and embeddings; 404 for anything else."""
    for step in _default(exchange.request):
        await step(exchange)


def _default(request: Received) -> Script:
    if request.path.endswith("/embeddings"):
        return answer(embeddings(request.body))
    if not request.path.endswith("/chat/completions"):
        return error(404, f"no route {request.path}")
    if request.body.get("stream"):
        return stream(*default_stream(request.body))
    return answer(completion(model=request.body.get("model", "?"), choices=request.body.get("n") or 1))


# --- the server ------------------------------------------------------------------------------------------------------


class ScriptedUpstream:
    """An async context manager. ``requests`` are all requests whose bodies came in whole, in order."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._scripts: deque[Script] = deque()
        self._default: Script = [default_answer]
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()
        self._failures: list[Exception] = []
        self._arrived = asyncio.Condition()

    @property
    def port(self) -> int:
        assert self._server is not None, "enter the context first"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def will(self, *scripts: Script) -> None:
        """The next requests are answered by these scripts, one each."""
        self._scripts.extend(scripts)

    def always(self, script: Script) -> None:
        """Requests without a script of their own are answered by this one."""
        self._default = script

    async def arrived(self, count: int = 1) -> Received:
        """Wait until ``count`` requests have come in; gives the last of these."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()
        if self._failures and error is None:
            raise ExceptionGroup("a script of the upstream failed", self._failures)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        wire = _Wire(reader)
        try:
            while await self._exchange(wire, writer):
                pass
        except asyncio.CancelledError:
            writer.close()  # the server ends; a handler that ends cancelled would be logged as a failure
        except (OSError, asyncio.IncompleteReadError):
            writer.close()  # the client went away while it asked
        except Exception as failure:
            self._failures.append(failure)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _exchange(self, wire: _Wire, writer: asyncio.StreamWriter) -> bool:
        """Take one request and play its script. False: this connection is over."""
        request = await wire.request()
        if request is None:
            return False
        script = self._scripts.popleft() if self._scripts else self._default
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        exchange = Exchange(request, writer)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(_play(script, exchange))
            watching = group.create_task(_watch(wire, exchange, playing))
            playing.add_done_callback(lambda _: watching.cancel())
        request.answered_at = time.monotonic()
        return not (exchange.closed or request.hung_up.is_set())


async def _play(script: Script, exchange: Exchange) -> None:
    with contextlib.suppress(OSError):  # the client went away: the watcher says so
        for step in script:
            await step(exchange)


async def _watch(wire: _Wire, exchange: Exchange, playing: asyncio.Task[None]) -> None:
    """Notice a client that hangs up while the script plays, and stop the script."""
    await wire.until_closed()
    if exchange.closed:
        return
    exchange.request.hung_up_at = time.monotonic()
    exchange.request.hung_up.set()
    playing.cancel()


class _Wire:
    """What a connection has received; bytes read while watching for a hang-up are kept for the next request."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._received = bytearray()

    async def request(self) -> Received | None:
        """The next request with its body (by content-length or in chunks); None when the client closed."""
        while b"\r\n\r\n" not in self._received:
            if not await self._more():
                return None
        first, *lines = (await self._take(self._received.index(b"\r\n\r\n") + 4)).decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        body = await self._chunks() if chunked else await self._take(int(headers.get("content-length", 0)))
        return Received(method, path, headers, body, time.monotonic())

    async def until_closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._more():
                pass

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._received:
                await self._more_or_fail()
            size = int((await self._take(self._received.index(b"\r\n") + 2)).split(b";")[0], 16)
            body += (await self._take(size + 2))[:-2]
            if size == 0:
                return body

    async def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._more_or_fail()
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    async def _more_or_fail(self) -> None:
        if not await self._more():
            raise asyncio.IncompleteReadError(bytes(self._received), None)

    async def _more(self) -> bool:
        received = await self._reader.read(65536)
        self._received += received
        return bool(received)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    phrases = {known.value: known.phrase for known in HTTPStatus}
    lines = [f"HTTP/1.1 {status} {phrases.get(status, 'Scripted')}", *(f"{name}: {headers[name]}" for name in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _encoded(payload: Json | str | bytes) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    return dump(payload)
