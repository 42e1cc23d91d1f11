"""The first-content gate: keeps an attempt's prelude back until it has content, so that a failed attempt leaves no trace."""

from __future__ import annotations

import time

from proxy.call import CONTENT_PARTS, Chunk, Cut, Head, Reply, Trace
from proxy.errors import UpstreamUnavailable

PRELUDE_BYTES_MAX = 64 * 1024


class Gate:
    """One attempt's layer of reply. Until content comes nothing passes; a gate that is dropped unopened was never there.

    ``started_at`` is when it took content, in monotonic seconds.
    """

    def __init__(self, reply: Reply, head: Head, trace: Trace) -> None:
        self._reply = reply
        self._head = head
        self._trace = trace
        self._prelude: list[Chunk] = []
        self._prelude_bytes = 0
        self.started_at: float | None = None

    @property
    def started(self) -> bool:
        return self.started_at is not None

    @property
    def cut(self) -> Cut | None:
        return self._reply.cut

    async def open(self, head: Head) -> None:
        """Nothing goes out yet: this head does when content comes."""
        self._head = head

    async def send(self, chunk: Chunk) -> None:
        """Pass the chunk on, or keep it. Raises UpstreamUnavailable when a prelude outgrows PRELUDE_BYTES_MAX."""
        if self.started:
            return await self._reply.send(chunk)
        if chunk.part in CONTENT_PARTS:
            return await self._start(chunk)
        return self._keep(chunk)

    def _keep(self, chunk: Chunk) -> None:
        self._prelude_bytes += len(chunk.raw)
        if self._prelude_bytes > PRELUDE_BYTES_MAX:
            raise UpstreamUnavailable(f"The upstream sent more than {PRELUDE_BYTES_MAX} bytes without content")
        self._prelude.append(chunk)

    async def _start(self, content: Chunk) -> None:
        # Said before the first await: from here on the client may have seen bytes, whatever cuts us.
        self.started_at = time.monotonic()
        self._trace.answering = self._head.model
        await self._reply.open(self._head)
        kept, self._prelude = self._prelude, []
        for chunk in [*kept, content]:
            await self._reply.send(chunk)
