"""Server-sent events: cuts a byte stream into whole events without changing a byte, reads their payload, writes new ones.

Follows WHATWG HTML §9.2.6: a line ends with LF, CRLF or CR; a blank line ends the event.
"""

from __future__ import annotations

import re

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# A line end followed by a blank line. After LF a CR may still become CRLF, so that one waits for the byte behind it; CR CR
# does not wait, or a stream that uses CR only would lag by an event (an LF behind it opens the next event, as a blank line).
_EVENT_END = re.compile(rb"\r\r|\n(?:\n|\r\n|\r(?=[^\n]))")
_UNDECIDED_BYTES = 2  # as much of an event's end as can stand at the end of the buffer: LF CR


class EventTooLarge(ValueError):
    """An event is longer than ``event_bytes_max``; what follows it in the stream is not read."""


class Framer:
    """Cuts a stream into events; however the bytes are split, the events are the same and joined they are the stream.

    Holds at most ``event_bytes_max`` bytes besides what was fed last.
    """

    __slots__ = ("_buffer", "_event_bytes_max", "_searched")

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, received: bytes) -> list[bytes]:
        """The events completed by ``received``, each with its blank line. Raises EventTooLarge."""
        buffer = self._buffer
        buffer += received
        events: list[bytes] = []
        start, search_from = 0, self._searched
        while end := _EVENT_END.search(buffer, search_from):
            stop = end.end()
            self._bound(stop - start)
            events.append(bytes(buffer[start:stop]))
            start = search_from = stop
        del buffer[:start]
        self._bound(len(buffer))
        self._searched = max(0, len(buffer) - _UNDECIDED_BYTES)
        return events

    def rest(self) -> bytes:
        """What is left when the stream ended: an event without its blank line, or nothing."""
        return bytes(self._buffer)

    def _bound(self, event_bytes: int) -> None:
        if event_bytes > self._event_bytes_max:
            raise EventTooLarge(f"an event of the stream is larger than {self._event_bytes_max} bytes")


def payload(event: bytes) -> bytes | None:
    """The event's data lines, joined by LF; None where it has none (a comment, a blank line, other fields only)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # one line and its blank line: what nearly every event is
    lines = [_value(line) for line in _LINE_END.split(event.removeprefix(_BOM)) if _is_data(line)]
    return b"\n".join(lines) if lines else None


def encode(payload: bytes) -> bytes:
    """A whole event that carries ``payload``; its line ends become LF, as the format has no way to keep them."""
    lines = _LINE_END.split(payload)
    return b"".join(b"data: %b\n" % line for line in lines) + b"\n"


def _is_data(line: bytes) -> bool:
    return line.startswith(b"data:") or line == b"data"


def _value(line: bytes) -> bytes:
    return line[5:].removeprefix(b" ")
