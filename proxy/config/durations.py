"""Durations as operators write them: a number and a unit, such as ``90d`` or ``12h``."""

from __future__ import annotations

import re

UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
DAYS_MAX = 36_500

_DURATION = re.compile(r"([0-9]{1,12})([dhms])")


def duration_ms(text: str) -> int:
    """Milliseconds of a duration. Raises ValueError that shows how one is written."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a whole number and d, h, m or s, such as 90d or 12h")
    ms = int(match[1]) * UNIT_MS[match[2]]
    if ms > DAYS_MAX * UNIT_MS["d"]:
        raise ValueError(f"{text} is longer than {DAYS_MAX}d, which is 100 years")
    return ms


def checked_duration(value: object) -> str:
    """The text itself. Raises ValueError for what is no duration, a number without its unit above all."""
    text = value if isinstance(value, str) else repr(value)
    duration_ms(text)
    return text
