"""All metrics of one proxy, in a registry of its own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from proxy.telemetry.call_metrics import CallMetrics
from proxy.telemetry.exposition import Text
from proxy.telemetry.state import AuditMetrics, ConfigMetrics, JournalMetrics, StateMetrics, Watched


class Metrics:
    """Counters by whom they are told: calls by the edge, commits by the journal's writer, versions by the app."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, of no use here
        self._registry = CollectorRegistry()
        self.calls = CallMetrics(self._registry)
        self.journal = JournalMetrics(self._registry)
        self.config = ConfigMetrics(self._registry)
        self.audit = AuditMetrics(self._registry)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self, watched: Watched) -> Text:
        """The text of ``/metrics``, its gauges read from ``watched``."""
        return Text(self._registry, StateMetrics(self._registry, watched).read)
