"""The books, checked while the proxy runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from proxy.errors import JournalUnavailable
from proxy.journal.port import Violation
from proxy.tasks import beside
from proxy.telemetry.audit import audit


async def test_what_is_found_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    results: list[Sequence[Violation] | Exception] = [
        [],
        JournalUnavailable("away"),
        [Violation("held_within_balance", "app/ana", "held 5, balance 3")],
    ]
    counted: asyncio.Queue[int] = asyncio.Queue()

    async def verify() -> Sequence[Violation]:
        found = results.pop(0) if results else []
        if isinstance(found, Exception):
            raise found
        return found

    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(20), beside() as tasks:
            tasks.start(audit(verify, counted.put_nowait, every_s=0.001))
            assert [await counted.get() for _ in range(3)] == [0, 1, 0]

    assert caplog.messages == [
        "the books could not be checked: away",
        "ledger: held_within_balance: app/ana: held 5, balance 3",
    ]
