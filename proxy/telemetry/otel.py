"""OpenTelemetry: a span per call, one per attempt below it, and the GenAI client metrics, over OTLP/HTTP.

Names are those of the semantic conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/). Spans are made when a
call has ended, of what it kept anyway. No prompt, no answer, no user and no key is in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy import __version__
from proxy.call import Attempt, Call, Deployment
from proxy.errors import OrchError
from proxy.telemetry.traceparent import HEADER, Span, parse, span_id_of, trace_id_of

NAME = "ai-orchestrator"
EXPORT_S = 3.0
"""How long one request to the collector may take; at the end of the process nobody waits much longer than that."""

DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

PROVIDERS = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "azure_ai": "azure.ai.inference",
        "bedrock": "aws.bedrock",
        "gemini": "gcp.gemini",
        "vertex_ai": "gcp.vertex_ai",
        "mistral": "mistral_ai",
        "xai": "x_ai",
        "watsonx": "ibm.watsonx.ai",
    }
)
"""LiteLLM's name of a provider -> ``gen_ai.provider.name``, where they differ."""

Attributes = dict[str, Any]


class _Ids(IdGenerator):
    """Gives out the ids that were decided beforehand: upstreams were told them while the call ran."""

    def __init__(self) -> None:
        self.next = Span(trace_id="1", span_id="1", sampled=True)

    def generate_trace_id(self) -> int:
        return int(self.next.trace_id, 16)

    def generate_span_id(self) -> int:
        return int(self.next.span_id, 16)


class OtelTracing:
    """Implements ``Tracing`` (an ``Observer``); runs on the event loop only, its exporters in threads of their own."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": NAME, "service.version": __version__})
        self._ids = _Ids()
        self._traces = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=EXPORT_S)
        self._traces.add_span_processor(BatchSpanProcessor(spans))
        self._tracer = self._traces.get_tracer(NAME, __version__)
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", timeout=EXPORT_S))
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._metrics.get_meter(NAME, __version__)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Duration of one request to a provider.",
            explicit_bucket_boundaries_advisory=DURATION_S,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of one answer.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )

    def close(self) -> None:
        """Export what is left. Blocks."""
        self._traces.shutdown()
        self._metrics.shutdown(timeout_millis=EXPORT_S * 1000)

    def headers(self, call: Call) -> Mapping[str, str]:
        """What an upstream is sent, so that its spans belong to the attempt that is about to begin."""
        ours = self._span_of(call, place=len(call.trace.attempts))
        return {HEADER: str(ours)}

    # --- Observer -----------------------------------------------------------------------------------------------------

    def ended(self, call: Call, error: Exception | None) -> None:
        booked = call.trace.booked
        if booked is None:
            return
        refused = error.reason if call.trace.ending is None and isinstance(error, OrchError) else None
        self._tell(booked, refused or call.trace.error)

    def refused(self, call: Call, error: OrchError) -> None:
        self._tell(call, error.reason)

    def turned_away(self, error: OrchError) -> None:
        """Whoever has no key gets no trace: anyone could fill the collector."""

    def _tell(self, call: Call, reason: str | None) -> None:
        began_ns = _began_ns()
        ours = self._span_of(call)
        if not ours.sampled:
            self._count(call)
            return
        parent = parse(call.trace.traceparent)
        span = self._start(ours, _title(call), parent, SpanKind.SERVER, began_ns(call.trace.received_at))
        span.set_attributes(_call_attributes(call, reason))
        _conclude(span, reason, began_ns(time.monotonic()))
        for place, attempt in enumerate(call.trace.attempts):
            below = self._span_of(call, place=place)
            title = f"{call.operation.value} {attempt.deployment.model}"
            child = self._start(below, title, ours, SpanKind.CLIENT, began_ns(attempt.started_at))
            child.set_attributes(_attempt_attributes(call, attempt))
            _conclude(child, attempt.error, began_ns(attempt.ended_at or attempt.started_at))
        self._count(call)

    def _count(self, call: Call) -> None:
        for attempt in call.trace.attempts:
            labels = _deployment_attributes(call, attempt.deployment)
            if attempt.error is not None:
                labels["error.type"] = attempt.error
            self._duration.record((attempt.ended_at or attempt.started_at) - attempt.started_at, labels)
        used = call.trace.outcome or call.trace.partial
        if used is not None:
            labels = _deployment_attributes(call, used.deployment)
            self._tokens.record(used.usage.input_tokens, {**labels, "gen_ai.token.type": "input"})
            self._tokens.record(used.usage.output_tokens, {**labels, "gen_ai.token.type": "output"})

    # --- spans --------------------------------------------------------------------------------------------------------

    def _span_of(self, call: Call, place: int | None = None) -> Span:
        """The call's own span, or that of its attempt at ``place``; in the client's trace where it brought one."""
        parent = parse(call.trace.traceparent)
        trace_id = trace_id_of(call.id) if parent is None else parent.trace_id
        sampled = self._samples(trace_id) if parent is None else parent.sampled
        return Span(trace_id=trace_id, span_id=span_id_of(call.id, place), sampled=sampled)

    def _samples(self, trace_id: str) -> bool:
        decision = self._traces.sampler.should_sample(None, int(trace_id, 16), NAME).decision
        return decision is Decision.RECORD_AND_SAMPLE

    def _start(self, ours: Span, title: str, parent: Span | None, kind: SpanKind, at_ns: int) -> trace.Span:
        self._ids.next = ours
        return self._tracer.start_span(title, context=_context(parent), kind=kind, start_time=at_ns)


def _context(parent: Span | None) -> Context:
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    above = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(above), Context())


def _began_ns() -> Any:
    """Monotonic seconds -> Unix nanoseconds, by the clocks of this moment."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda at: int(at * 1e9) + offset_ns


def _conclude(span: trace.Span, reason: str | None, at_ns: int) -> None:
    if reason is not None:
        span.set_attribute("error.type", reason)
        span.set_status(Status(StatusCode.ERROR))
    span.end(end_time=at_ns)


def _title(call: Call) -> str:
    return f"{call.operation.value} {call.model}" if call.model in call.ports.routes.models else call.operation.value


def _call_attributes(call: Call, reason: str | None) -> Attributes:
    """``call`` is as it stands in the books, so its names are known ones; those of a refused one may be anything."""
    found: Attributes = {"gen_ai.operation.name": call.operation.value, "orch.call.id": call.id}
    if call.model in call.ports.routes.models:
        found["gen_ai.request.model"] = call.model
    outcome, receipt, ending = call.trace.outcome, call.trace.receipt, call.trace.ending
    if call.trace.booked is not None and call.action is not None:
        found["orch.action"] = call.action
    if call.downgraded_from is not None:
        found["orch.downgraded_from"] = call.downgraded_from
    found["orch.outcome"] = "refused" if ending is None else ending.how.value
    if receipt is not None:
        found["orch.energy.charged"] = receipt.charged
    used = outcome or call.trace.partial
    if used is not None:
        found |= {
            "gen_ai.provider.name": _provider(used.deployment),
            "gen_ai.response.model": used.model,
            "gen_ai.usage.input_tokens": used.usage.input_tokens,
            "gen_ai.usage.output_tokens": used.usage.output_tokens,
            "gen_ai.response.finish_reasons": list(used.finish_reasons),
        }
    return found


def _attempt_attributes(call: Call, attempt: Attempt) -> Attributes:
    found = _deployment_attributes(call, attempt.deployment) | {"orch.deployment": attempt.deployment.id}
    if attempt.status is not None:
        found["http.response.status_code"] = attempt.status
    if attempt.first_content_at is not None:
        found["orch.first_content_s"] = attempt.first_content_at - attempt.started_at
    return found


def _deployment_attributes(call: Call, deployment: Deployment) -> Attributes:
    return {
        "gen_ai.operation.name": call.operation.value,
        "gen_ai.provider.name": _provider(deployment),
        "gen_ai.request.model": deployment.model,
    }


def _provider(deployment: Deployment) -> str:
    return PROVIDERS.get(deployment.provider, deployment.provider)
