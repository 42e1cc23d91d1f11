"""Replies: let an answer out to the client as it comes, but withhold its tail until the journal has the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Send

from proxy.call import Call, Chunk, Cut, Head, Outcome, Part, Receipt, Trace
from proxy.dialect.answer import usage_event
from proxy.edge.errors import Failure
from proxy.edge.headers import Headers, answer_headers, encode, receipt_headers, usd

DONE = b"data: [DONE]\n\n"


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

    def __init__(self, trace: Trace, send: Send, *, call: Call, stall_s: float) -> None:
        super().__init__(trace, send)
        self._call = call
        self._stall_s = stall_s
        self._usage: bytes | None = None

    async def open(self, head: Head) -> None:
        self.started = True
        self.head = head
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *answer_headers(self._call, head),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

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
        if not self.started:
            return await super().fail(problem, headers)
        return await self._end(problem.event)

    async def _write(self, raw: bytes) -> None:
        await self._put({"type": "http.response.body", "body": raw, "more_body": True})

    async def _end(self, raw: bytes) -> None:
        """The body closes with its last bytes: some clients read until it does."""
        await self._put({"type": "http.response.body", "body": raw, "more_body": False})

    async def _put(self, message: Message) -> None:
        stall = asyncio.get_running_loop().call_later(self._stall_s, self.cut_off, Cut.STALLED)
        try:
            await self._send(message)
        finally:
            stall.cancel()


def reply_for(call: Call, send: Send, *, stall_s: float) -> BodyReply | StreamReply:
    if call.stream:
        return StreamReply(call.trace, send, call=call, stall_s=stall_s)
    return BodyReply(call.trace, send)


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
