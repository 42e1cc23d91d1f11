"""Times as an operator writes them: how long ago, or when."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from proxy.errors import BadRequest

_AGO = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhdw])")
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="From then on: 7d, 12h, 30m, 2026-07-01, 2026-07-01T10:00."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Until before then; UTC, as --since.")]


def moment(text: str | None, option: str, *, now_ms: int | None = None) -> int | None:
    """Unix milliseconds of ``7d`` (so long ago), ``2026-07-01`` or ``2026-07-01T10:00`` (UTC unless it has an offset).

    None stays None. Raises BadRequest naming the ``option``.
    """
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return max(0, now - int(ago["count"]) * UNITS_MS[ago["unit"]])
    try:
        written = datetime.fromisoformat(text.strip())
        return max(0, int(written.replace(tzinfo=written.tzinfo or UTC).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{option} {text[:40]!r} is no time: write 7d, 12h, 30m, 2026-07-01 or 2026-07-01T10:00", param=option
        ) from None


def span(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Both ends of a time. Raises BadRequest for one that ends before it begins."""
    begin, end = moment(since, "--since"), moment(until, "--until")
    if begin is not None and end is not None and end <= begin:
        raise BadRequest(f"--until {until} is not after --since {since}: there is nothing between", param="--until")
    return begin, end


def length_s(text: str, option: str) -> float:
    """Seconds of ``90s``, ``10m``, ``2h``. Raises BadRequest naming the ``option``."""
    found = _AGO.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"{option} {text[:40]!r} is no length of time: write 90s, 10m, 2h or 1d", param=option)
    return int(found["count"]) * UNITS_MS[found["unit"]] / 1000
