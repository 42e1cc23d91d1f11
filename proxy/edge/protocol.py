"""Receiving: uvicorn's protocol under our limits of time, size and number, with errors in OpenAI's shape.

One ``Receiver`` a connection. ``head.py`` checks what it received, ``deadline.py`` times it, ``leaving.py`` ends it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from proxy.config.settings import Limits
from proxy.edge.deadline import Deadline
from proxy.edge.errors import Failure, failure
from proxy.edge.head import check_head, head_too_large, target, too_many_headers
from proxy.edge.headers import encode
from proxy.edge.ids import uuid7
from proxy.edge.leaving import LeavingTransport
from proxy.errors import BadRequest, OrchError, Overloaded, RequestTimeout, TargetTooLong

log = logging.getLogger("proxy.edge")

PIPELINED_MAX = 100
"""Requests of one connection that wait for the answers before theirs."""

TURNED_AWAY_MAX = 256
"""Connections over ``connections_max`` that are told so at the same time; yet more are closed without a word."""


class Reception:
    """What the connections of one listener share: the limits in force, and how many come from each address."""

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self.limits = limits
        self._from: Counter[str] = Counter()

    def enter(self, address: str, connections: int) -> None:
        """``connections`` are open, the new one among them. Raises Overloaded; ``leave`` is owed either way."""
        limits = self.limits()
        self._from[address] += 1
        if connections > limits.connections_max:
            raise Overloaded(
                f"{limits.connections_max} connections are open already (connections_max). Try again shortly."
            )
        if limits.connections_per_address_max is not None and self._from[address] > limits.connections_per_address_max:
            raise Overloaded(
                f"{limits.connections_per_address_max} connections from {address} are open already"
                " (connections_per_address_max). Try again shortly."
            )

    def leave(self, address: str) -> None:
        self._from[address] -= 1
        if not self._from[address]:
            del self._from[address]


def receiver(limits: Callable[[], Limits]) -> type[asyncio.Protocol]:
    """The protocol for one listener; ``limits`` gives those in force, for every request anew."""

    class Bound(Receiver):
        reception = Reception(limits)

    return Bound


class Cycle(RequestResponseCycle):
    """A request and its answer."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.more_body and not self.response_started:
            self.keep_alive = False  # answered before its body is here: the rest is not read, so nothing can follow it
        await super().send(message)
        if self.response_complete and self.flow.write_paused and not self.disconnected:
            await self.flow.drain()  # a large answer that waits for its reader keeps its place among the calls


class Receiver(HttpToolsProtocol):
    """One connection. It waits for a head (``_in_body`` false) or for the rest of a body, and has at most one answer running."""

    reception: Reception
    transport: LeavingTransport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = self.reception.limits()
        self.deadline = Deadline(self.loop, self._late)
        self._address = ""
        self._running: RequestResponseCycle | None = None
        self._refusal: OrchError | None = None  # of a request behind one that is still being answered
        self._deaf = False  # refused: nothing more is read
        self._head_begun = False
        self._head_timed = True
        self._in_body = False
        self._upgrading = False
        self._advanced = False  # the bytes just received completed something
        self._unparsed = 0  # bytes of a head, a chunk's extension or trailers that are not whole yet
        self._body_until = 0.0

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(LeavingTransport(transport, self.limits, unread=lambda: self._deaf or self._in_body))
        self._address = counted_as(self.client[0]) if self.client else ""
        try:
            self.reception.enter(self._address, len(self.connections))
        except Overloaded as error:
            if len(self.connections) > self.limits.connections_max + TURNED_AWAY_MAX:
                self.transport.abort()
            else:
                self._refuse(error)
        else:
            self.deadline.set(self.loop.time() + self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.stop()
        self.transport.lost()
        self.reception.leave(self._address)
        if self._running is not None and not self._running.response_complete:
            _hang_up(self._running)
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called as the server stops: an answer that runs is the last one."""
        self.pipeline.clear()
        if self._running is None or self._running.response_complete:
            self.transport.close()
        else:
            self._running.keep_alive = False

    def eof_received(self) -> None:
        self.transport.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._running is not None and self._running.response_complete:
            self.transport.watch()  # a stream that is under way has its own stall_s

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.unwatch()

    # --- bytes --------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.leaving:
            self.transport.drop(len(data))
            return
        while data:
            data = self._parse(data)

    def _parse(self, data: bytes) -> bytes:
        """What is still to be parsed after it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            return self._without_upgrade() + data[pause.args[0] :]
        except httptools.HttpParserError as error:
            self._refuse(_meaning(error))
        else:
            self._await_more(len(data))
        return b""

    def _await_more(self, received: int) -> None:
        """What has to come next, and until when."""
        self._unparsed = 0 if self._advanced else self._unparsed + received
        self._advanced = False
        if self._unparsed > self.limits.target_bytes_max + self.limits.head_bytes_max:
            self._refuse(head_too_large(self.limits))
        elif self._in_body:
            self.deadline.set(min(self.loop.time() + self.limits.body_s, self._body_until))
        elif not self._answered():
            self.deadline.clear()
        elif self._head_begun and not self._head_timed:
            self._await_head()

    def _await_head(self) -> None:
        """The next request's: how long until it begins, how long until it is whole."""
        self._head_timed = self._head_begun
        after_s = self.limits.head_s if self._head_begun else self.limits.keep_alive_s
        self.deadline.set(self.loop.time() + after_s)

    def _late(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_body and self.flow.read_paused:  # it is us who do not read
            self.deadline.set(self.loop.time() + self.limits.body_s)
        elif self._in_body:
            self._refuse(
                RequestTimeout("The request's body did not arrive in time (body_s between bytes, call_s in all).")
            )
        elif self._head_begun:
            self._refuse(RequestTimeout(f"The request's head did not arrive within {self.limits.head_s:g} s (head_s)."))
        else:
            self.transport.close()

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # --- what the parser finds ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED_MAX:
            raise BadRequest(f"More than {PIPELINED_MAX} requests wait for answers on this connection.")
        super().on_message_begin()
        self.limits = self.reception.limits()
        self._head_begun = True

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.target_bytes_max:
            raise TargetTooLong(
                f"The request's target is longer than {self.limits.target_bytes_max} bytes (target_bytes_max)."
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer: taken for a header it would pass whoever checked the headers in front of us
        if len(self.headers) >= self.limits.headers_max:
            raise too_many_headers(self.limits)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        version, method = self.parser.get_http_version(), self.parser.get_method().decode("ascii")
        self.expect_100_continue = check_head(method, version, self.headers, self.limits)
        asked = target(self.url)
        self.scope["method"] = method
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        self.scope["http_version"] = version
        self.scope["path"] = asked.path
        self.scope["raw_path"] = asked.raw_path
        self.scope["query_string"] = asked.query
        self.cycle, before = self._new_cycle(version), self.cycle
        self._in_body = self._advanced = True
        self._body_until = self.loop.time() + self.limits.call_s
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _new_cycle(self, version: str) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        super().on_message_complete()
        self._advanced = True
        self._in_body = self._head_begun = self._head_timed = False

    def _without_upgrade(self) -> bytes:
        """The head just parsed, for a new parser, without its offer to upgrade.

        Clients offer h2c with their first request and go on in HTTP/1.1 where nobody takes it; the parser ends there, and
        would lose the body.
        """
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join([*head, b"\r\n"])

    # --- answers ------------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self.transport.watch()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._answer(self._refusal)
        else:
            self.flow.resume_reading()
            self._await_head()

    def _refuse(self, error: OrchError) -> None:
        """What came is no request we take. Nothing more is read; the answer waits for those before it."""
        self.deadline.clear()
        self._deaf = True
        if self._in_body and self.cycle is self._running:
            _hang_up(self.cycle)
            if self.cycle.response_started:
                self.transport.close()
            else:
                self._answer(error)
            return
        if self._in_body:
            self.pipeline.popleft()
        if self._running is None or self._running.response_complete:
            self._answer(error)
        else:
            self._refusal = error
            self.flow.pause_reading()

    def _answer(self, error: OrchError) -> None:
        log.debug("%s: %s", self.client, error.message)
        self.transport.write(_raw(failure(error), self.server_state.default_headers))
        self.transport.close()


def counted_as(address: str) -> str:
    """The address whose connections are counted together: one of IPv4, or a /64 of IPv6, which is one customer's."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def _hang_up(cycle: RequestResponseCycle) -> None:
    """For whoever serves it the client is gone."""
    cycle.disconnected = True
    cycle.message_event.set()


def _meaning(error: httptools.HttpParserError) -> OrchError:
    """The parser's error, or the one of ours that stopped it."""
    if isinstance(error.__context__, OrchError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("a bug of ours while a request was received", exc_info=error)
        return OrchError("Something went wrong on our side.", reason="internal_error")
    return BadRequest(f"The request is not valid HTTP/1.1: {error}.")


def _raw(problem: Failure, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, for a request that no application sees."""
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(problem.body)),
        *encode(problem.headers),
        (b"x-request-id", uuid7().encode()),
        (b"connection", b"close"),
    ]
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", problem.body])
