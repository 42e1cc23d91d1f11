"""Metrics of calls: each call is counted once, when it has ended, with what its record in the books says.

On the hot path is one function; the children of every label set are bound the first time it comes up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Histogram

from proxy.call import Attempt, Call, Outcome, Trace
from proxy.errors import EnergyExhausted, OrchError
from proxy.telemetry.vocabulary import NONE, OpenVocabulary, Vocabulary

MODELS_MAX = 200
ACTIONS_MAX = 100
REASONS_MAX = 100
DEPLOYMENTS_MAX = 300
"""Distinct values of each label; beyond them everything is counted as ``other``."""

REFUSED = "refused"
INTERNAL = "internal_error"

DURATION_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
FIRST_CONTENT_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60)
OVERHEAD_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)

COUNTERS = MappingProxyType(
    {
        "calls": (
            "Calls by how they ended; reason is the error code, none for an answer.",
            "model action outcome reason",
        ),
        "strangers": ("Requests turned away whose caller is not known: no call, no record.", "reason"),
        "tokens": ("Tokens of calls that have ended, as recorded.", "model direction"),
        "usage_estimated_calls": ("Calls whose tokens the provider did not tell, so they are estimates.", "model"),
        "cost_nanodollars": ("What providers charge for calls that have ended, in nano-dollars.", "model"),
        "cost_unknown_calls": (
            "Calls that used tokens whose price nobody knows; their cost is not in the sum.",
            "model",
        ),
        "energy_held_points": ("Points that were held for calls that have ended.", "model action"),
        "energy_charged_points": ("Points charged, what was given back taken off.", "model action"),
        "energy_voided_points": ("Points held and let go again without a charge.", "model action"),
        "energy_refused_points": ("Points that calls refused for want of energy would have taken.", "model action"),
        "downgrades": ("Calls moved to a cheaper model because energy was low.", "from_model to_model"),
        "upstream_attempts": ("Requests to upstreams; error is none where one answered.", "deployment error"),
        "upstream_retries": (
            "Attempts after a call's first: the same deployment again, or another of the model.",
            "kind",
        ),
        "upstream_fallbacks": ("Attempts at another model than the one before.", "from_model to_model"),
    }
)
HISTOGRAMS = MappingProxyType(
    {
        "call_duration_seconds": ("From a call's arrival to its outcome in the books.", "model", DURATION_S),
        "call_first_content_seconds": ("From a call's arrival to the first content.", "model", FIRST_CONTENT_S),
        "call_overhead_seconds": ("Time of a call that was neither an upstream's nor a backoff's.", "", OVERHEAD_S),
    }
)


@dataclass(frozen=True, slots=True)
class _Series:
    """The bound children of one way for a call to end."""

    calls: Counter
    duration: Histogram
    first_content: Histogram
    held: Counter
    charged: Counter
    voided: Counter


@dataclass(frozen=True, slots=True)
class _Use:
    """The bound children of what one model used."""

    input_tokens: Counter
    output_tokens: Counter
    cached_tokens: Counter
    estimated: Counter
    cost: Counter
    cost_unknown: Counter


class CallMetrics:
    """Implements ``Observer``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.models = Vocabulary(MODELS_MAX)
        self.actions = Vocabulary(ACTIONS_MAX)
        self._reasons = OpenVocabulary(REASONS_MAX)
        self._deployments = OpenVocabulary(DEPLOYMENTS_MAX)
        self._counters = {
            name: Counter(f"orch_{name}", help_, labels.split(), registry=registry)
            for name, (help_, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"orch_{name}", help_, labels.split(), buckets=buckets, registry=registry)
            for name, (help_, labels, buckets) in HISTOGRAMS.items()
        }
        self._overhead = self._histograms["call_overhead_seconds"]
        self._series: dict[tuple[str, str, str, str], _Series] = {}
        self._uses: dict[str, _Use] = {}
        self._attempts: dict[tuple[str, str], Counter] = {}

    def know(self, *, models: Iterable[str], actions: Iterable[str]) -> None:
        """Names of a configuration that goes live: they may be label values from now on."""
        self.models.allow(models)
        self.actions.allow(actions)

    def deployments(self) -> tuple[str, ...]:
        """Those that were asked since the start, as label values."""
        return tuple(dict.fromkeys(deployment for deployment, _ in self._attempts))

    # --- the hot path -------------------------------------------------------------------------------------------------

    def ended(self, call: Call, error: Exception | None) -> None:
        trace = call.trace
        booked, ending = trace.booked, trace.ending
        if booked is None:
            return
        if ending is None:
            self._refused(booked, error)
            return
        now = time.monotonic()
        model = self.models.label(ending.model or booked.model)
        series = self._of(model, self.actions.label(booked.action), ending.how.value, self._reasons.label(trace.error))
        series.calls.inc()
        series.duration.observe(now - trace.received_at)
        self._energy(series, booked, trace)
        elsewhere_s = trace.waited_s + self._upstream_s(trace, series, booked.model)
        self._overhead.observe(max(0.0, now - trace.received_at - elsewhere_s))
        used = trace.outcome or trace.partial
        if used is not None:
            self._used(model, used)
        if booked.downgraded_from is not None:
            self._count("downgrades", self.models.label(booked.downgraded_from), self.models.label(booked.model))

    def refused(self, call: Call, error: OrchError) -> None:
        self._refused(call, error)

    def turned_away(self, error: OrchError) -> None:
        self._count("strangers", self._reasons.label(error.reason))

    def _energy(self, series: _Series, booked: Call, trace: Trace) -> None:
        held = 0 if booked.hold is None else booked.hold.points
        charged = 0 if trace.receipt is None else trace.receipt.charged
        if held:
            series.held.inc(held)
        if charged:
            series.charged.inc(charged)
        if held > charged:
            series.voided.inc(held - charged)

    def _upstream_s(self, trace: Trace, series: _Series, model: str) -> float:
        """Seconds spent in upstreams; counts the attempts on the way."""
        total_s = 0.0
        content_at = None
        for attempt in trace.attempts:
            total_s += (attempt.ended_at or attempt.started_at) - attempt.started_at
            content_at = attempt.first_content_at or content_at
            key = (attempt.deployment.id, attempt.error or NONE)
            (self._attempts.get(key) or self._attempt(*key)).inc()
        if content_at is not None:
            series.first_content.observe(content_at - trace.received_at)
        if len(trace.attempts) > 1 or (trace.attempts and trace.attempts[0].model != model):
            self._moves(trace.attempts, model)
        return total_s

    def _used(self, model: str, used: Outcome) -> None:
        use = self._uses.get(model) or self._use(model)
        usage = used.usage
        use.input_tokens.inc(usage.input_tokens)
        use.output_tokens.inc(usage.output_tokens)
        if usage.cached_input_tokens:
            use.cached_tokens.inc(usage.cached_input_tokens)
        if usage.estimated:
            use.estimated.inc()
        if used.cost_nanousd is None:
            use.cost_unknown.inc()
        elif used.cost_nanousd:
            use.cost.inc(used.cost_nanousd)

    # --- rare ---------------------------------------------------------------------------------------------------------

    def _refused(self, call: Call, error: Exception | None) -> None:
        reason = error.reason if isinstance(error, OrchError) else INTERNAL
        labels = (self.models.label(call.model), self.actions.label(call.action))
        self._count("calls", *labels, REFUSED, self._reasons.label(reason))
        if isinstance(error, EnergyExhausted):
            self._counters["energy_refused_points"].labels(*labels).inc(error.required)

    def _moves(self, attempts: list[Attempt], model: str) -> None:
        asked: set[str] = set()
        for place, attempt in enumerate(attempts):
            if attempt.model != model:
                self._count("upstream_fallbacks", self.models.label(model), self.models.label(attempt.model))
            elif place:
                self._count("upstream_retries", "repeat" if attempt.deployment.id in asked else "deployment")
            model = attempt.model
            asked.add(attempt.deployment.id)

    def _count(self, name: str, *labels: str) -> None:
        self._counters[name].labels(*labels).inc()

    def _of(self, model: str, action: str, outcome: str, reason: str) -> _Series:
        key = (model, action, outcome, reason)
        return self._series.get(key) or self._bound(key)

    def _bound(self, key: tuple[str, str, str, str]) -> _Series:
        model, action, _, _ = key
        counters = self._counters
        series = self._series[key] = _Series(
            calls=counters["calls"].labels(*key),
            duration=self._histograms["call_duration_seconds"].labels(model),
            first_content=self._histograms["call_first_content_seconds"].labels(model),
            held=counters["energy_held_points"].labels(model, action),
            charged=counters["energy_charged_points"].labels(model, action),
            voided=counters["energy_voided_points"].labels(model, action),
        )
        return series

    def _use(self, model: str) -> _Use:
        counters = self._counters
        use = self._uses[model] = _Use(
            *(counters["tokens"].labels(model, direction) for direction in ("input", "output", "cached_input")),
            *(
                counters[name].labels(model)
                for name in ("usage_estimated_calls", "cost_nanodollars", "cost_unknown_calls")
            ),
        )
        return use

    def _attempt(self, deployment: str, error: str) -> Counter:
        key = (self._deployments.label(deployment), self._reasons.label(error))
        counter = self._attempts[key] = self._counters["upstream_attempts"].labels(*key)
        return counter
