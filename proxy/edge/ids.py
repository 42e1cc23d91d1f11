"""Call ids: UUID version 7 (RFC 9562), so that rows sort by time and the newest sit together."""

from __future__ import annotations

import os
import time
import uuid

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7() -> str:
    """48 bits of Unix milliseconds, 12 bits of the microseconds within, 62 random bits."""
    now_ns = time.time_ns()
    ms, rest_ns = divmod(now_ns, 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return str(uuid.UUID(int=ms << 80 | _VERSION | fraction << 64 | _VARIANT | random))
