"""All metrics of one proxy."""

from __future__ import annotations

from pathlib import Path

from proxy.telemetry.metrics import Metrics
from tests.telemetry.scraped import Scraped
from tests.telemetry.test_state import Books, watched


async def test_a_proxys_metrics_are_its_own_and_have_the_process_beside_them(tmp_path: Path) -> None:
    one, other = Metrics(), Metrics()
    one.journal.failed()
    database = tmp_path / "orch.db"
    texts = [(await made.exposition(watched(Books(), database)).text()).decode() for made in (one, other)]
    first, second = (Scraped(text) for text in texts)
    assert (first.value("orch_journal_failures_total"), second.value("orch_journal_failures_total")) == (1, 0)
    assert first.value("process_resident_memory_bytes") > 0
    assert not [name for name in first.names if name.endswith("_created")]
