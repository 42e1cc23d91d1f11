"""The port of an upstream: one request, one attempt, raw bytes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from proxy.call import Body, Operation

CALL_ID_HEADER = "x-orch-call-id"
"""Carries the call's id to the provider, so that its logs and our records can be laid side by side."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

Take = Callable[[bytes], Awaitable[None]]
"""Takes one whole SSE event with its blank line, exactly as received; or, not streamed, the whole JSON body once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What one attempt sends. ``body`` is complete: the model's name at the upstream, translated, ``stream_options`` decided."""

    call_id: str
    operation: Operation
    model: str
    body: Body
    stream: bool
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)


class Upstream(Protocol):
    """A provider we can ask. Exactly one request goes out per ``send``; cancelling it closes the request within a second."""

    @property
    def stream_usage(self) -> bool:
        """Whether ``stream_options.include_usage`` may be asked for."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What it sends to authenticate itself; taken out of everything it says before anyone sees it."""
        ...

    async def send(self, request: UpstreamRequest, take: Take) -> None:
        """Return when the upstream ended its answer; raise an UpstreamError otherwise."""
        ...

    async def aclose(self) -> None: ...
