"""Exporting to an OpenTelemetry collector, where one is named; OpenTelemetry itself is imported only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Protocol

from proxy.call import Call
from proxy.config.settings import Telemetry
from proxy.errors import OrchError
from proxy.telemetry.port import Observer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DISABLED = "OTEL_SDK_DISABLED"


class Tracing(Observer, Protocol):
    """Tells a collector of every call."""

    def headers(self, call: Call) -> Mapping[str, str]:
        """What the upstream of the attempt that is about to begin is sent."""
        ...

    def close(self) -> None: ...


class NotInstalled(OrchError):
    """A collector is named, but the extra is not installed."""

    reason = "cannot_start"


def collector(settings: Telemetry, environ: Mapping[str, str]) -> str | None:
    """Where to export to: the configuration's ``telemetry.otlp``, else OpenTelemetry's own variable; None: nowhere."""
    if environ.get(DISABLED, "").strip().lower() == "true":
        return None
    return settings.otlp or environ.get(ENDPOINT, "").strip().rstrip("/") or None


@asynccontextmanager
async def exporting(settings: Telemetry, environ: Mapping[str, str]) -> AsyncIterator[Tracing | None]:
    """Exports for as long as the proxy runs; at its end what is left goes out. Raises NotInstalled."""
    endpoint = collector(settings, environ)
    if endpoint is None:
        yield None
        return
    tracing = opened(endpoint)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.close)


def opened(endpoint: str, module: str = "proxy.telemetry.otel") -> Tracing:
    try:
        otel = import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise NotInstalled(
            f"a collector is named (telemetry.otlp or {ENDPOINT}), but OpenTelemetry is not installed: "
            "pip install 'ai-orchestrator[otel]', or name none"
        ) from None
    tracing: Tracing = otel.OtelTracing(endpoint)
    return tracing
