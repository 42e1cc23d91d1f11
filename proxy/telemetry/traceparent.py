"""W3C trace context (https://www.w3.org/TR/trace-context/): what the client sent, and the ids of our own spans.

Ids follow from the call's id and the attempt's place, so nothing has to be kept while the call runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

HEADER = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span's place in the world; ids in hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(header: str | None) -> Span | None:
    """The client's span; None where the header is absent or is not what the specification says."""
    found = _FORM.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not (int(trace_id, 16) and int(span_id, 16)):
        return None
    return Span(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & 1))


def trace_id_of(call_id: str) -> str:
    """The trace of a call whose client brought none: the call's own id, so that one finds the other."""
    plain = call_id.replace("-", "").lower()
    return plain if _HEX.fullmatch(plain) else blake2b(call_id.encode(), digest_size=16).hexdigest()


def span_id_of(call_id: str, place: int | None = None) -> str:
    """The span of a call, or of its attempt at ``place``, the first being 0."""
    return blake2b(f"{call_id}/{'' if place is None else place}".encode(), digest_size=8).hexdigest()
