"""What the edge tells telemetry, and what it asks of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from proxy.call import Call
from proxy.errors import OrchError

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being served; every line of the log that it causes carries it."""


class Observer(Protocol):
    """Hears of every call once, when it has ended and before its client has the last byte. Must not await or raise."""

    def ended(self, call: Call, error: Exception | None) -> None:
        """A call came to its end; ``call.trace`` tells all of it. ``booked`` None: it was refused before any reserve,
        and ``refused`` tells of it.
        """
        ...

    def refused(self, call: Call, error: OrchError) -> None:
        """A call of a known caller was refused before any reserve."""
        ...

    def turned_away(self, error: OrchError) -> None:
        """A request was refused whose caller is not known: there is no call and no record."""
        ...


class Exposition(Protocol):
    """The text of ``/metrics``."""

    async def text(self) -> bytes: ...
