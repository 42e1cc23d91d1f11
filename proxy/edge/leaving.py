"""How a connection is left: its last answer arrives although the client still sends, and nobody holds one open by not reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.config.settings import Limits

LINGER_BYTES_MAX = 8 * 1024 * 1024
"""What a client may still send after its last answer before its connection is no longer read."""

TAKEN_BYTES_MIN = 1024 * 1024
"""What a client must take of a waiting answer within each ``stall_s``, or all of it where less is left."""


class LeavingTransport(asyncio.Transport):
    """The transport as the server knows it, except for its end.

    Closed while ``unread`` says that the client still sends, it says that no more comes and drops what arrives, for at most
    ``linger_s``: closed at once, the kernel would answer what is left of the request with a reset, and a reset discards
    answers (RFC 9112, 9.6). Closed while a client takes no answer, it is cut off after ``stall_s``.
    """

    def __init__(self, transport: asyncio.Transport, limits: Limits, *, unread: Callable[[], bool]) -> None:
        super().__init__()
        self.leaving = False
        self._transport = transport
        self._limits = limits
        self._unread = unread
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.leaving or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.leaving:
            self._transport.write(data)

    def abort(self) -> None:
        self.leaving = True
        self._transport.abort()

    def close(self) -> None:
        if self.leaving:
            return
        self.leaving = True
        if not self._unread() or self._transport.is_closing() or not self._transport.can_write_eof():
            self.end()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._again(self._limits.linger_s, self.end)

    def drop(self, received: int) -> None:
        """Something arrived that nobody will read."""
        self._dropped += received
        if self._dropped > LINGER_BYTES_MAX:
            self._transport.pause_reading()

    def watch(self) -> None:
        """From now on the client has to take what is written, or it is cut off."""
        waiting = self._transport.get_write_buffer_size()
        if waiting:
            self._again(self._limits.stall_s, lambda: self._look(waiting))

    def unwatch(self) -> None:
        if self._timer is not None and not self.leaving:
            self._timer.cancel()

    def lost(self) -> None:
        """There is no connection any more."""
        self.leaving = True
        self._unread = _nothing
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Close once what was written is taken."""
        self.leaving = True
        self._transport.close()
        self.watch()

    def _look(self, before: int) -> None:
        taken = before - self._transport.get_write_buffer_size()
        if taken < min(before, TAKEN_BYTES_MIN):
            self.abort()
        else:
            self.watch()

    def _again(self, after_s: float, do: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(after_s, do)


def _nothing() -> bool:
    return False
