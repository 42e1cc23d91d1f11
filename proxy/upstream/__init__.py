"""Upstreams: whoever answers a call. ``open_upstream`` makes one of what the operator wrote."""

from __future__ import annotations

from proxy.config.providers import completed
from proxy.config.settings import Limits, UpstreamSettings
from proxy.upstream.litellm import LitellmUpstream
from proxy.upstream.mock import MockUpstream
from proxy.upstream.passthrough import open_passthrough
from proxy.upstream.port import Upstream


async def open_upstream(name: str, settings: UpstreamSettings, limits: Limits) -> Upstream:
    """The upstream called ``name``, ready to be asked; whoever opens it closes it. Raises ConfigError."""
    match completed(settings, name=name).via:
        case "mock":
            return MockUpstream()
        case "passthrough":
            return await open_passthrough(name, settings, limits)
        case _:
            upstream = LitellmUpstream(name, settings, limits)
            await upstream.load()  # seconds of CPU: before we say that we are ready, not in somebody's first call
            return upstream
