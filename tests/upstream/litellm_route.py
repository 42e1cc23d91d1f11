"""What the tests of the LiteLLM route share: the upstreams under test, requests, and what came out of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.call import Operation
from proxy.config.settings import Limits, UpstreamSettings
from proxy.testing import ScriptedUpstream
from proxy.upstream.litellm import LitellmUpstream
from proxy.upstream.port import UpstreamRequest

OPENAI_KEY = "sk-proj-canary0123456789"

# Pydantic says so of LiteLLM's own code; LiteLLM hides both, and pytest brings them back.
QUIET = (
    "ignore:.*using the `ReadOnly` qualifier.*:UserWarning",
    "ignore:Accessing the .* attribute on the instance is deprecated:DeprecationWarning",
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
    },
}


@asynccontextmanager
async def through(
    server: ScriptedUpstream, provider: str, key: str, *, limits: Limits | None = None
) -> AsyncIterator[LitellmUpstream]:
    """The provider's route to a loopback server; closed at the end."""
    settings = UpstreamSettings.model_validate({"provider": provider, "base_url": server.base_url, "api_key": key})
    upstream = LitellmUpstream(provider, settings, limits or Limits.model_validate({}))
    try:
        yield upstream
    finally:
        await upstream.aclose()


def chat(model: str, *, stream: bool = False, **body: Any) -> UpstreamRequest:
    whole = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **body}
    return UpstreamRequest(call_id="call-1", operation=Operation.CHAT, model=model, body=whole, stream=stream)


def embed(model: str, **body: Any) -> UpstreamRequest:
    whole = {"model": model, **body}
    return UpstreamRequest(call_id="call-1", operation=Operation.EMBEDDINGS, model=model, body=whole, stream=False)


async def sent(upstream: LitellmUpstream, request: UpstreamRequest) -> list[bytes]:
    """All that ``take`` was given."""
    taken: list[bytes] = []

    async def take(raw: bytes) -> None:
        taken.append(raw)

    await upstream.send(request, take)
    return taken


async def answered(upstream: LitellmUpstream, request: UpstreamRequest) -> Any:
    (raw,) = await sent(upstream, request)
    return json.loads(raw)


async def streamed(upstream: LitellmUpstream, request: UpstreamRequest) -> list[Any]:
    """The payloads of a stream that ended with [DONE], without it."""
    *events, done = await sent(upstream, request)
    assert done == b"data: [DONE]\n\n"
    return [payload(event) for event in events]


def payload(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return json.loads(event[6:])


def deltas(payloads: list[Any]) -> list[Any]:
    return [payload["choices"][0]["delta"] for payload in payloads if payload["choices"]]


def finishes(payloads: list[Any]) -> list[str]:
    reasons = [payload["choices"][0]["finish_reason"] for payload in payloads if payload["choices"]]
    return [reason for reason in reasons if reason is not None]
