"""An observer that keeps what it hears."""

from __future__ import annotations

from proxy.call import Call
from proxy.errors import OrchError


class Heard:
    """Implements ``Observer``."""

    def __init__(self) -> None:
        self.endings: list[tuple[Call, Exception | None]] = []
        self.refusals: list[tuple[Call, OrchError]] = []
        self.strangers: list[OrchError] = []

    def ended(self, call: Call, error: Exception | None) -> None:
        self.endings.append((call, error))

    def refused(self, call: Call, error: OrchError) -> None:
        self.refusals.append((call, error))

    def turned_away(self, error: OrchError) -> None:
        self.strangers.append(error)
