"""Traces and metrics as a collector receives them, over real OTLP/HTTP, from a whole proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.call import Deployment
from proxy.telemetry.otel import _provider
from proxy.testing import ScriptedUpstream, error
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES, config
from tests.telemetry.collector import Collector, attributes, collecting

PROMPT = "a-prompt-that-nobody-may-see"
CHAT: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}
SERVER, CLIENT = 2, 3
ERROR = 2
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(autouse=True)
def prepared(store: Path) -> None:
    """Every proxy here finds its store migrated."""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as started:
        yield started


@asynccontextmanager
async def exporting(
    directory: Path, upstream: ScriptedUpstream, collector: Collector, environ: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[RunningProxy, httpx.AsyncClient]]:
    extra = "" if environ else f"telemetry: {{otlp: '{collector.endpoint}'}}"
    async with running(directory, config=config(upstream, extra), files=FILES, environ=environ) as proxy:
        headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}
        async with httpx.AsyncClient(headers=headers, base_url=proxy.base_url) as client:
            yield proxy, client


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


def hexed(raw: bytes) -> str:
    return raw.hex()


async def test_a_call_is_a_span_and_each_attempt_one_below_it(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    upstream.will(error(500))  # the fallback answers
    async with exporting(tmp_path, upstream, collector) as (_, client):
        got = await client.post("/chat/completions", json=CHAT)

    call, first, second = collector.spans
    assert (call.name, call.kind, first.kind, second.kind) == ("chat gpt-4o", SERVER, CLIENT, CLIENT)
    assert hexed(call.trace_id) == got.headers["x-request-id"].replace("-", "")
    assert call.parent_span_id == b""
    assert {first.parent_span_id, second.parent_span_id} == {call.span_id}
    assert attributes(call) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
        "orch.action": "ai_message",
        "orch.call.id": got.headers["x-request-id"],
        "orch.energy.charged": 3,
        "orch.outcome": "answered",
    }
    failed, answered = attributes(first), attributes(second)
    assert (failed["error.type"], failed["http.response.status_code"], first.status.code) == (
        "upstream_unavailable",
        500,
        ERROR,
    )
    assert (answered["gen_ai.request.model"], answered["orch.deployment"]) == ("gpt-4o-mini", "fake/gpt-4o-mini")
    assert "error.type" not in answered
    assert call.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    assert second.end_time_unix_nano <= call.end_time_unix_nano


async def test_the_clients_trace_goes_on_through_us_to_the_upstream(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    async with exporting(tmp_path, upstream, collector) as (_, client):
        await client.post("/chat/completions", json=CHAT, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})

    call, attempt = collector.spans
    assert (hexed(call.trace_id), hexed(call.parent_span_id)) == (TRACE, PARENT)
    assert upstream.requests[0].headers["traceparent"] == f"00-{TRACE}-{hexed(attempt.span_id)}-01"


async def test_a_client_that_does_not_sample_is_obeyed(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    async with exporting(tmp_path, upstream, collector) as (_, client):
        await client.post("/chat/completions", json=CHAT, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})

    assert collector.spans == []
    assert upstream.requests[0].headers["traceparent"].endswith("-00")
    assert collector.metrics["gen_ai.client.operation.duration"]


async def test_a_refused_call_is_a_span_with_its_reason_and_no_name_that_nobody_knows(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    async with exporting(tmp_path, upstream, collector) as (_, client):
        await client.post("/chat/completions", json={**CHAT, "model": "made-up"})

    (call,) = collector.spans
    found = attributes(call)
    assert (call.name, found["orch.outcome"], found["error.type"]) == ("chat", "refused", "model_not_found")
    assert b"made-up" not in collector.raw


async def test_metrics_have_the_names_and_labels_of_the_conventions(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    upstream.will(error(500))
    async with exporting(tmp_path, upstream, collector) as (_, client):
        await client.post("/chat/completions", json=CHAT)

    durations = {
        attributes(point)["gen_ai.request.model"]: point
        for point in collector.metrics["gen_ai.client.operation.duration"]
    }
    assert attributes(durations["gpt-4o"]) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "error.type": "upstream_unavailable",
    }
    assert durations["gpt-4o-mini"].count == 1
    tokens = {
        attributes(point)["gen_ai.token.type"]: point.sum for point in collector.metrics["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 12, "output": 7}


async def test_no_span_and_no_metric_holds_a_prompt_a_user_or_a_key(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    async with exporting(tmp_path, upstream, collector) as (_, client):
        await client.post("/chat/completions", json=CHAT)
        key = client.headers["authorization"].removeprefix("Bearer ")

    assert collector.spans
    for secret in (PROMPT, key, "app/ana", "sk-upstream-canary"):
        assert secret.encode() not in collector.raw


async def test_opentelemetrys_own_variable_names_the_collector(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Collector
) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.endpoint}/"}
    async with exporting(tmp_path, upstream, collector, environ) as (_, client):
        await client.post("/chat/completions", json=CHAT)

    assert len(collector.spans) == 2


async def test_without_a_collector_an_upstream_is_told_of_no_trace(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with running(tmp_path, config=config(upstream), files=FILES) as proxy:
        headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}
        async with httpx.AsyncClient(headers=headers, base_url=proxy.base_url) as client:
            await client.post("/chat/completions", json=CHAT, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})

    assert "traceparent" not in upstream.requests[0].headers


def test_providers_have_the_names_of_the_conventions() -> None:
    names = {
        name: _provider(Deployment(upstream="u", provider=name, model="m")) for name in ("openai", "gemini", "xai")
    }
    assert names == {"openai": "openai", "gemini": "gcp.gemini", "xai": "x_ai"}
