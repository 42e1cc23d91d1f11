"""Metrics of the process itself: what is read when somebody looks, what the journal's writer tells, what a reload came to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from proxy import __version__
from proxy.config.watch import Result
from proxy.errors import OrchError
from proxy.journal.listing import Totals
from proxy.route.health import State

READ_S = 2.0
"""How long a look at the store may take; what it did not tell in time is left out."""

COMMIT_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)

GAUGES = MappingProxyType(
    {
        "calls_running": ("Calls being served.", ""),
        "store_up": ("1 while the store takes writes.", ""),
        "store_disk_free_bytes": ("Free space where the store lies.", ""),
        "store_disk_bytes": ("Size of the file system where the store lies.", ""),
        "store_bytes": ("Size of the store's files.", "file"),
        "journal_queue": ("Operations that wait for the ledger's writer.", ""),
        "open_calls": ("Calls that are open in the books.", ""),
        "open_call_oldest_seconds": ("Age of the oldest call that is open in the books; 0: none is.", ""),
        "open_points_held": ("Points held for calls that are open in the books.", ""),
        "accounts": ("Accounts in the books.", ""),
        "upstream_breaker": ("1 for the state a deployment's breaker is in, 0 for the others.", "deployment state"),
    }
)


class Books(Protocol):
    """What is asked of the store."""

    @property
    def queued(self) -> int: ...

    async def healthy(self) -> bool: ...

    async def totals(self) -> Totals: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where the gauges are read from."""

    books: Books
    database: Path
    running: Callable[[], int]
    breaker: Callable[[str], State]
    deployments: Callable[[], Sequence[str]]


class StateMetrics:
    """Gauges; ``read`` brings them up to date."""

    def __init__(self, registry: CollectorRegistry, watched: Watched) -> None:
        self._watched = watched
        self._gauges = {
            name: Gauge(f"orch_{name}", help_, labels.split(), registry=registry)
            for name, (help_, labels) in GAUGES.items()
        }

    async def read(self) -> None:
        self._set("calls_running", self._watched.running())
        self._set("journal_queue", self._watched.books.queued)
        self._read_breakers()
        await asyncio.to_thread(self._read_files)
        await self._read_store()

    def _set(self, name: str, value: float, *labels: str) -> None:
        (self._gauges[name].labels(*labels) if labels else self._gauges[name]).set(value)

    def _read_breakers(self) -> None:
        for deployment in self._watched.deployments():
            state = self._watched.breaker(deployment)
            for each in State:
                self._set("upstream_breaker", float(each is state), deployment, each.value)

    def _read_files(self) -> None:
        database = self._watched.database
        for file, path in (("database", database), ("wal", database.with_name(f"{database.name}-wal"))):
            self._set("store_bytes", path.stat().st_size if path.exists() else 0, file)
        if database.parent.exists():
            disk = os.statvfs(database.parent)
            self._set("store_disk_free_bytes", disk.f_bavail * disk.f_frsize)
            self._set("store_disk_bytes", disk.f_blocks * disk.f_frsize)

    async def _read_store(self) -> None:
        """A store that does not answer is down; of what it holds the last known figures stay."""
        try:
            async with asyncio.timeout(READ_S):
                self._set("store_up", float(await self._watched.books.healthy()))
                totals = await self._watched.books.totals()
        except (TimeoutError, OrchError):
            self._set("store_up", 0)
            return
        age_s = 0.0 if totals.oldest_open_at is None else max(0.0, time.time() - totals.oldest_open_at / 1000)
        self._set("open_calls", totals.open_calls)
        self._set("open_call_oldest_seconds", age_s)
        self._set("open_points_held", totals.points_held)
        self._set("accounts", totals.accounts)


class JournalMetrics:
    """Implements the writer's ``Meter``; called on the writer's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._commit = Histogram(
            "orch_journal_commit_seconds", "Time of one commit of the ledger.", buckets=COMMIT_S, registry=registry
        )
        self._batch = Histogram(
            "orch_journal_batch_operations", "Operations in one commit.", buckets=BATCH, registry=registry
        )
        self._failures = Counter("orch_journal_failures", "Commits that the store did not take.", registry=registry)

    def committed(self, operations: int, seconds: float) -> None:
        self._commit.observe(seconds)
        self._batch.observe(operations)

    def failed(self) -> None:
        self._failures.inc()


class ConfigMetrics:
    """Which configuration is live, and what became of attempts to replace it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._live = Info("orch_config", "The versions of policies and prices that are live.", registry=registry)
        self._reloads = Counter("orch_config_reloads", "Reloads by what became of them.", ["result"], registry=registry)
        self._last_good = Gauge(
            "orch_config_last_reload_ok",
            "0 when the last edit was refused and an older one is live.",
            registry=registry,
        )
        self._at = Gauge(
            "orch_config_loaded_timestamp_seconds",
            "When the live configuration went live, Unix time.",
            registry=registry,
        )
        Info("orch_build", "The program.", registry=registry).info({"version": __version__})
        for result in Result:
            self._reloads.labels(result.value)

        self._last_good.set(1)

    def went_live(self, policy_version: str, price_version: str | None) -> None:
        self._live.info({"policy_version": policy_version, "price_version": price_version or "none"})
        self._at.set_to_current_time()

    def reloaded(self, result: Result) -> None:
        self._reloads.labels(result.value).inc()
        self._last_good.set(result is not Result.REFUSED)


class AuditMetrics:
    """What the last check of the books found."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._violations = Gauge(
            "orch_ledger_violations",
            "Rows that break an invariant of the ledger, at the last check.",
            registry=registry,
        )
        self._at = Gauge(
            "orch_ledger_checked_timestamp_seconds", "When the books were last checked, Unix time.", registry=registry
        )

    def checked(self, violations: int) -> None:
        self._violations.set(violations)
        self._at.set_to_current_time()
