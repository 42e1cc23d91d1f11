"""The budget of repeats: asking again what has just failed may add a fifth to the load on upstreams, never a storm."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.2  # repeats per call
FLOOR_PER_S = 1.0  # repeats a second that are always there, for those who make few calls
REPEATS_MAX = 10.0  # repeats saved up at most; a new budget begins with them


class RepeatBudget:
    """A token bucket: each call puts SHARE of a repeat in, each second FLOOR_PER_S, each repeat takes one out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved = REPEATS_MAX
        self._filled_at = clock()

    def called(self) -> None:
        """An attempt ended that was no repeat (or was: a repeat pays SHARE for itself when it is taken)."""
        self._saved = min(self._saved + SHARE, REPEATS_MAX)

    def take(self) -> bool:
        """Take one repeat; False: none is left now."""
        now = self._clock()
        self._saved = min(self._saved + (now - self._filled_at) * FLOOR_PER_S, REPEATS_MAX)
        self._filled_at = now
        if self._saved < 1:
            return False
        self._saved -= 1 + SHARE
        return True
