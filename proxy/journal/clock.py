"""The journal's time: Unix milliseconds from one function, never running backwards."""

from __future__ import annotations

import time
from collections.abc import Callable


def unix_ms() -> int:
    """The wall clock, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Clock:
    """A wall clock that stands still while its source is behind what it already said."""

    __slots__ = ("_last", "_now_ms")

    def __init__(self, now_ms: Callable[[], int] = unix_ms) -> None:
        self._now_ms = now_ms
        self._last = 0

    def __call__(self) -> int:
        self._last = max(self._last, self._now_ms())
        return self._last

    def not_before(self, ms: int) -> None:
        """Never say less than ``ms`` from now on: what the books already hold is in the past."""
        self._last = max(self._last, ms)
