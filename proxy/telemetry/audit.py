"""The books checked now and then while the proxy runs, so that an error in them is an alert and not a surprise."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from proxy.errors import OrchError
from proxy.journal.port import Violation

SHARE_MAX = 0.01
"""Of the time, at most this much goes into checking: a check that took a minute is followed by a pause of 99."""

log = logging.getLogger(__name__)


async def audit(
    verify: Callable[[], Awaitable[Sequence[Violation]]], checked: Callable[[int], None], *, every_s: float
) -> None:
    """Check every ``every_s`` seconds, until cancelled. A store that cannot be read is another metric's news."""
    pause_s = every_s
    while True:
        await asyncio.sleep(pause_s)
        began = time.monotonic()
        try:
            found = await verify()
        except OrchError as error:
            log.warning("the books could not be checked: %s", error.message)
            continue
        checked(len(found))
        for violation in found:
            log.error("ledger: %s: %s: %s", violation.invariant, violation.row, violation.detail)
        pause_s = max(every_s, (time.monotonic() - began) / SHARE_MAX)
