"""Timeout: how long one attempt may stay silent. The call's own deadline is the edge's business, not this policy's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

from pydantic import Field

from proxy.call import CONTENT_PARTS, Call, Chunk, Cut, Handler, Head, Outcome, Reply
from proxy.errors import UpstreamBroke, UpstreamError, UpstreamTimeout
from proxy.policy.base import PolicyBase


class Timeout(PolicyBase):
    """Cuts an attempt that is silent for too long, so that another one can be made while the client waits."""

    kind: Literal["timeout"]
    first_content_s: float = Field(
        30, gt=0, le=86_400, description="Streamed: time to the first content, in seconds, from the attempt's start."
    )
    idle_s: float = Field(30, gt=0, le=86_400, description="Streamed: longest silence between two chunks, in seconds.")
    answer_s: float = Field(300, gt=0, le=86_400, description="Not streamed: time to the whole answer, in seconds.")

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        first_s = self.first_content_s if call.stream else self.answer_s
        # asyncio.timeout tells its own cancellation from one that came from outside, which passes through untouched.
        timer = asyncio.timeout(first_s)
        reply = _Listening(call.reply, timer, idle_s=self.idle_s)
        try:
            async with timer:
                return await call_next(call.replying_to(reply))
        except TimeoutError:
            if not timer.expired():
                raise
        if call.trace.outcome is not None:
            return call.trace.outcome  # the answer was complete; only the connection's end was missing
        error = self._silent(call, reply)
        _correct(call, error)
        raise error

    def _silent(self, call: Call, reply: Reply) -> UpstreamError:
        if reply.started:
            return UpstreamBroke(f"The upstream fell silent for {self.idle_s:g} s in the middle of its answer.")
        if call.stream:
            return UpstreamTimeout(f"The upstream sent no content within {self.first_content_s:g} s.")
        return UpstreamTimeout(f"The upstream sent no answer within {self.answer_s:g} s.")


class _Listening:
    """A layer of reply that times the upstream's silence. The clock stands still while a chunk goes down to the client."""

    def __init__(self, reply: Reply, timer: asyncio.Timeout, *, idle_s: float) -> None:
        self._reply = reply
        self._timer = timer
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self.started = False

    @property
    def cut(self) -> Cut | None:
        return self._reply.cut

    async def open(self, head: Head) -> None:
        self.started = True  # a head goes out only with content
        self._pause()
        await self._reply.open(head)

    async def send(self, chunk: Chunk) -> None:
        self.started = self.started or chunk.part in CONTENT_PARTS
        self._pause()
        await self._reply.send(chunk)
        self._listen()

    def _pause(self) -> None:
        if not self._timer.expired():
            self._timer.reschedule(None)

    def _listen(self) -> None:
        if not self._timer.expired():
            self._timer.reschedule(self._loop.time() + self._idle_s)


def _correct(call: Call, error: UpstreamError) -> None:
    """The attempt saw only that it was cancelled; that it was the upstream's silence is known here, and told."""
    attempts = call.trace.attempts
    if not attempts:
        return
    attempts[-1] = replace(attempts[-1], error=error.reason, repeatable=error.repeatable)
    call.ports.routes.report(attempts[-1])
