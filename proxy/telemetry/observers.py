"""Observers: several as one, none of which can harm a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from proxy.call import Call
from proxy.errors import OrchError
from proxy.telemetry.port import Observer

log = logging.getLogger(__name__)


class Observers:
    """Implements ``Observer``: tells each in turn. One that fails is a defect of ours, logged, and no concern of the call's."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def ended(self, call: Call, error: Exception | None) -> None:
        for observer in self._observers:
            _safely(observer.ended, call, error)

    def refused(self, call: Call, error: OrchError) -> None:
        for observer in self._observers:
            _safely(observer.refused, call, error)

    def turned_away(self, error: OrchError) -> None:
        for observer in self._observers:
            _safely(observer.turned_away, error)


class Nothing:
    """Implements ``Exposition`` where nothing is counted."""

    async def text(self) -> bytes:
        return b""


def _safely(tell: Callable[..., None], *told: object) -> None:
    try:
        tell(*told)
    except Exception:
        log.exception("telemetry failed; the call is not affected")
