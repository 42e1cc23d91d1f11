"""Replies: let an answer out to the client as it comes, but withhold its tail until the journal has the outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from starlette.types import Send

from proxy.call import Call, Chunk, Cut, Head, Outcome, Part, Receipt, Trace
from proxy.config.settings import Limits
from proxy.dialect.answer import usage_event
from proxy.edge.errors import Failure
from proxy.edge.headers import Headers, answer_headers, encode, policy_headers, receipt_headers, usd

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class ClientReply:
    """What both kinds of reply share: who answers, and why the call was cut if it was."""

    def __init__(self, trace: Trace, send: Send) -> None:
        self.started = False
        self.cut: Cut | None = None
        self.on_cut: Callable[[], object] = lambda: None
        self.head: Head | None = None
        self._trace = trace
        self._send = send

    def cut_off(self, why: Cut) -> None:
        """Cancel the call, saying why first. A deadline does not cut a complete answer: its tail has waits of its own."""
        if self.cut is not None or (why is Cut.DEADLINE and self._trace.outcome is not None):
            return
        self.cut = why
        self.on_cut()

    async def keep_alive(self) -> None:
        """Runs beside the call, for replies that may have to say something while there is no content yet."""

    async def fail(self, problem: Failure, headers: Headers) -> None:
        """Tell the client what went wrong, while the status is still ours to choose."""
        content = [(b"content-type", b"application/json"), *encode(problem.headers), *headers]
        await _whole(self._send, problem.status, content, problem.body)


class BodyReply(ClientReply):
    """An answer that is not streamed: all of it is withheld, so its headers know the charge."""

    _body: bytes | None = None

    async def open(self, head: Head) -> None:
        self.head = head

    async def send(self, chunk: Chunk) -> None:
        assert self._body is None, "a whole answer comes once"
        self.started = True
        self._body = chunk.raw

    async def finish(self, call: Call, outcome: Outcome) -> None:
        assert self.head is not None
        assert self._body is not None
        headers = [
            (b"content-type", b"application/json"),
            *answer_headers(call, self.head),
            *receipt_headers(call.trace.receipt, outcome),
        ]
        await _whole(self._send, 200, headers, self._body)


class StreamReply(ClientReply):
    """A streamed answer: status 200 leaves with the first content, the usage chunk and [DONE] wait for the journal."""

    def __init__(self, send: Send, call: Call, limits: Limits) -> None:
        super().__init__(call.trace, send)
        self._call = call
        self._limits = limits
        self._head_sent = False
        self._head_leaving = asyncio.Lock()
        self._usage: bytes | None = None

    async def open(self, head: Head) -> None:
        self.started = True
        self.head = head
        await self._send_head(answer_headers(self._call, head))

    async def keep_alive(self) -> None:
        """Until there is content: a comment now and then, if the operator asks for it."""
        every_s = self._limits.headers_after_s
        while every_s is not None and not self.started:
            await asyncio.sleep(every_s)
            if self.started:
                return
            await self._send_head(policy_headers(self._call))
            await self._write(KEEP_ALIVE)

    async def _send_head(self, ours: Headers) -> None:
        """Once: a keep-alive and the first content may both want it, and sending may wait for a slow client."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *ours,
        ]
        async with self._head_leaving:
            if not self._head_sent:
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self._head_sent = True

    async def send(self, chunk: Chunk) -> None:
        if chunk.part is Part.USAGE:
            self._usage = chunk.raw
        elif chunk.part is not Part.DONE:
            await self._write(chunk.raw)

    async def finish(self, call: Call, outcome: Outcome) -> None:
        assert self.head is not None
        tail = DONE
        if call.usage_wanted:
            extra = _extra(call.trace.receipt, outcome)
            tail = usage_event(self._usage, outcome.usage, extra, call_id=call.id, model=outcome.model) + DONE
        await self._end(tail)

    async def fail(self, problem: Failure, headers: Headers) -> None:
        if not self._head_sent:
            return await super().fail(problem, headers)
        return await self._end(problem.event)

    async def _write(self, raw: bytes) -> None:
        """Hand the bytes on; a client that does not take them in time is cut off."""
        stall = asyncio.get_running_loop().call_later(self._limits.stall_s, self.cut_off, Cut.STALLED)
        try:
            await self._send({"type": "http.response.body", "body": raw, "more_body": True})
        finally:
            stall.cancel()

    async def _end(self, raw: bytes) -> None:
        """The body closes with its last bytes: some clients read until it does.

        The call is over by now. A client that no longer reads gets no tail, and its connection is closed.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stall_s):
                await self._send({"type": "http.response.body", "body": raw, "more_body": False})


def reply_for(call: Call, send: Send, limits: Limits) -> BodyReply | StreamReply:
    return StreamReply(send, call, limits) if call.stream else BodyReply(call.trace, send)


async def send_failure(send: Send, problem: Failure) -> None:
    """An error for a request that never became a call."""
    await _whole(send, problem.status, [(b"content-type", b"application/json"), *encode(problem.headers)], problem.body)


async def _whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def _extra(receipt: Receipt | None, outcome: Outcome) -> dict[str, Any]:
    """What a stream knows only at its end; the key ``orch`` of its usage chunk."""
    extra: dict[str, Any] = {"model": outcome.model}
    if receipt is not None:
        extra |= {"energy_charged": receipt.charged, "energy_remaining": receipt.remaining}
    if outcome.cost_nanousd is not None:
        extra["cost_usd"] = usd(outcome.cost_nanousd)
    return extra
