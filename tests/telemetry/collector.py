"""A collector on loopback: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.testing import ScriptedUpstream, head


class Collector:
    """What was exported; complete once the proxy has ended."""

    def __init__(self, server: ScriptedUpstream) -> None:
        self._server = server
        self.endpoint = server.base_url.removesuffix("/v1")

    @property
    def raw(self) -> bytes:
        return b"".join(request.raw for request in self._server.requests)

    @property
    def spans(self) -> list[Any]:
        """In the order in which they began."""
        found = [
            span
            for request in self._server.requests
            if request.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(request.raw).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: (span.start_time_unix_nano, span.kind))

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """The last exported points of each metric."""
        return {
            metric.name: list(metric.histogram.data_points)
            for request in self._server.requests
            if request.path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(request.raw).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    async with ScriptedUpstream() as server:
        server.always([head(200, {"content-length": "0", "content-type": "application/x-protobuf"})])
        yield Collector(server)


def attributes(of: Any) -> Mapping[str, Any]:
    return {pair.key: _value(pair.value) for pair in of.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(inner) for inner in value.array_value.values]
    return getattr(value, kind)
