"""Gauges of the process: read when somebody looks, whatever state the store is in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from proxy.config.watch import Result
from proxy.errors import JournalUnavailable
from proxy.journal.listing import Totals
from proxy.route.health import State
from proxy.telemetry import state
from proxy.telemetry.state import AuditMetrics, ConfigMetrics, JournalMetrics, StateMetrics, Watched
from tests.telemetry.scraped import Scraped

TOTALS = Totals(open_calls=2, oldest_open_at=1_000, points_held=13, accounts=3, entries=9, calls=20)


class Books:
    """Implements ``Books``; away or not."""

    queued = 7

    def __init__(self) -> None:
        self.away = False

    async def healthy(self) -> bool:
        return not self.away

    async def totals(self) -> Totals:
        if self.away:
            raise JournalUnavailable("away")
        return TOTALS


def watched(books: Books, database: Path) -> Watched:
    return Watched(
        books=books,
        database=database,
        running=lambda: 4,
        breaker=lambda deployment: State.OPEN if deployment == "a/m" else State.CLOSED,
        deployments=lambda: ("a/m", "b/m"),
    )


def shown(registry: CollectorRegistry) -> Scraped:
    return Scraped(generate_latest(registry).decode())


async def test_it_is_read_from_where_it_is_known(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    database.write_bytes(b"x" * 100)
    registry = CollectorRegistry()
    await StateMetrics(registry, watched(Books(), database)).read()

    seen = shown(registry)
    assert [seen.value(f"orch_{name}") for name in ("store_up", "calls_running", "journal_queue")] == [1, 4, 7]
    assert [seen.value(f"orch_{name}") for name in ("open_calls", "open_points_held", "accounts")] == [2, 13, 3]
    assert seen.value("orch_open_call_oldest_seconds") > 1_000_000
    assert seen.value("orch_store_bytes", file="database") == 100
    assert seen.value("orch_store_bytes", file="wal") == 0
    assert 0 < seen.value("orch_store_disk_free_bytes") <= seen.value("orch_store_disk_bytes")
    assert seen.value("orch_upstream_breaker", deployment="a/m", state="open") == 1
    assert seen.value("orch_upstream_breaker", deployment="b/m", state="closed") == 1
    assert sum(value for _, value in seen.of("orch_upstream_breaker")) == 2


async def test_a_store_that_is_away_is_down_and_its_last_figures_stay(tmp_path: Path) -> None:
    books, registry = Books(), CollectorRegistry()
    gauges = StateMetrics(registry, watched(books, tmp_path / "gone" / "orch.db"))
    await gauges.read()
    books.away = True
    await gauges.read()

    assert shown(registry).value("orch_store_up") == 0
    assert shown(registry).value("orch_open_calls") == 2


async def test_a_store_that_does_not_answer_does_not_hold_up_the_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Books):
        async def totals(self) -> Totals:
            await asyncio.Event().wait()
            return TOTALS

    monkeypatch.setattr(state, "READ_S", 0.01)
    registry = CollectorRegistry()
    await StateMetrics(registry, watched(Silent(), tmp_path / "orch.db")).read()
    assert shown(registry).value("orch_store_up") == 0


def test_commits_are_timed_and_failures_counted() -> None:
    registry = CollectorRegistry()
    journal = JournalMetrics(registry)
    journal.committed(3, 0.25)
    journal.committed(5, 0.25)
    journal.failed()
    seen = shown(registry)
    assert seen.value("orch_journal_batch_operations_sum") == 8
    assert seen.value("orch_journal_commit_seconds_sum") == 0.5
    assert seen.value("orch_journal_failures_total") == 1


def test_an_edit_that_is_refused_shows_until_a_good_one() -> None:
    registry = CollectorRegistry()
    versions = ConfigMetrics(registry)
    versions.went_live("p1", None)
    assert shown(registry).value("orch_config_last_reload_ok") == 1
    for result, ok in ((Result.REFUSED, 0), (Result.UNCHANGED, 1), (Result.REFUSED, 0), (Result.APPLIED, 1)):
        versions.reloaded(result)
        assert shown(registry).value("orch_config_last_reload_ok") == ok
    versions.went_live("p2", "e1")
    seen = shown(registry)
    assert seen.value("orch_config_reloads_total", result="refused") == 2
    assert [labels for labels, _ in seen.of("orch_config_info")] == [{"policy_version": "p2", "price_version": "e1"}]
    assert seen.value("orch_config_loaded_timestamp_seconds") > 1_700_000_000


def test_violations_are_those_of_the_last_check() -> None:
    registry = CollectorRegistry()
    audit = AuditMetrics(registry)
    audit.checked(2)
    audit.checked(0)
    assert shown(registry).value("orch_ledger_violations") == 0
    assert shown(registry).value("orch_ledger_checked_timestamp_seconds") > 1_700_000_000
