"""A connection's deadline: moved at every request, so moving it costs no timer of the event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls ``late`` once the loop's time has passed the time set last. Its timer wakes early and looks again."""

    __slots__ = ("_at", "_late", "_loop", "_timer", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], object]) -> None:
        self._loop = loop
        self._late: Callable[[], object] | None = late
        self._at = math.inf
        self._wakes_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """``at`` is the loop's time, in seconds; it replaces the one set before."""
        self._at = at
        if at < self._wakes_at:
            self._wake_at(at)

    def clear(self) -> None:
        self._at = math.inf

    def stop(self) -> None:
        """For good; nothing is kept alive by it any more."""
        self._at, self._late = math.inf, None
        if self._timer is not None:
            self._timer.cancel()

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, math.inf
        if self._at == math.inf or self._late is None:
            return
        if self._loop.time() < self._at:
            self._wake_at(self._at)
            return
        self._at = math.inf
        self._late()
