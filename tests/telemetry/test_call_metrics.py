"""How one call moves the counters. That the sums are those of the records is told in tests/story."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from proxy.call import Attempt, Call, Deployment, Ending, How, Outcome, Receipt, Usage
from proxy.errors import BadRequest, EnergyExhausted, JournalUnavailable, Unauthenticated
from proxy.telemetry import call_metrics
from proxy.telemetry.call_metrics import CallMetrics
from proxy.testing import FakeHold, fake_call
from tests.telemetry.scraped import Scraped

HERE = Deployment(upstream="fake", provider="openai", model="gpt-4o")
THERE = Deployment(upstream="other", provider="openai", model="gpt-4o")
MINI = Deployment(upstream="fake", provider="openai", model="gpt-4o-mini")


class Counting:
    """The counters, and what they show."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = CallMetrics(self.registry)
        self.calls.know(models=["gpt-4o", "gpt-4o-mini"], actions=["ai_message"])

    @property
    def shown(self) -> Scraped:
        return Scraped(generate_latest(self.registry).decode())


@pytest.fixture
def counting() -> Counting:
    return Counting()


def booked(ending: Ending | None = None, *, held: int = 10, charged: int | None = None, **fields: Any) -> Call:
    """A call as the edge has it, with a trace that tells how it ended."""
    call = fake_call(**fields)
    call.trace.booked = replace(call, action="ai_message", hold=FakeHold(points=held))
    call.trace.ending = ending
    call.trace.receipt = None if charged is None else Receipt(charged=charged, remaining=0)
    return call


def attempt(deployment: Deployment, *, model: str = "gpt-4o", error: str | None = None, took_s: float = 1.0) -> Attempt:
    now = time.monotonic()
    return Attempt(model=model, deployment=deployment, started_at=now - took_s, ended_at=now, error=error)


def test_what_was_held_is_charged_or_voided(counting: Counting) -> None:
    counting.calls.ended(booked(Ending(How.ANSWERED, "gpt-4o"), charged=10), None)
    counting.calls.ended(booked(Ending(How.ANSWERED, "gpt-4o-mini"), charged=3), None)
    counting.calls.ended(booked(Ending(How.NOT_RECORDED, None)), JournalUnavailable("away"))

    shown = counting.shown
    assert shown.by("orch_energy_held_points_total", "model") == {("gpt-4o",): 20, ("gpt-4o-mini",): 10}
    assert shown.by("orch_energy_charged_points_total", "model") == {("gpt-4o",): 10, ("gpt-4o-mini",): 3}
    assert shown.by("orch_energy_voided_points_total", "model") == {("gpt-4o",): 10, ("gpt-4o-mini",): 7}


def test_a_call_that_was_never_booked_is_counted_by_its_refusal_alone(counting: Counting) -> None:
    call = fake_call(action="made-up")
    counting.calls.ended(call, BadRequest("no"))
    assert counting.shown.by("orch_calls_total", "outcome") == {}

    counting.calls.refused(call, BadRequest("no", reason="unknown_action"))
    assert counting.shown.by("orch_calls_total", "model", "action", "outcome", "reason") == {
        ("gpt-4o", "other", "refused", "unknown_action"): 1
    }


def test_want_of_energy_counts_what_the_call_would_have_taken(counting: Counting) -> None:
    counting.calls.ended(booked(), EnergyExhausted(required=3, available=1))

    assert counting.shown.by("orch_energy_refused_points_total", "model", "action") == {("gpt-4o", "ai_message"): 3}
    assert counting.shown.by("orch_calls_total", "outcome", "reason") == {("refused", "insufficient_energy"): 1}


def test_a_stranger_is_no_call(counting: Counting) -> None:
    counting.calls.turned_away(Unauthenticated("who?"))
    assert counting.shown.by("orch_strangers_total", "reason") == {("invalid_api_key",): 1}
    assert counting.shown.by("orch_calls_total", "outcome") == {}


def test_attempts_after_the_first_are_told_apart(counting: Counting) -> None:
    call = booked(Ending(How.ANSWERED, "gpt-4o-mini"), charged=3)
    call.trace.attempts += [
        attempt(HERE, error="upstream_unavailable"),
        attempt(THERE, error="upstream_timeout"),
        attempt(HERE, error="upstream_unavailable"),
        attempt(MINI, model="gpt-4o-mini"),
    ]
    counting.calls.ended(call, None)

    shown = counting.shown
    assert shown.by("orch_upstream_retries_total", "kind") == {("deployment",): 1, ("repeat",): 1}
    assert shown.by("orch_upstream_fallbacks_total", "from_model", "to_model") == {("gpt-4o", "gpt-4o-mini"): 1}
    assert shown.by("orch_upstream_attempts_total", "deployment", "error") == {
        ("fake/gpt-4o", "upstream_unavailable"): 2,
        ("other/gpt-4o", "upstream_timeout"): 1,
        ("fake/gpt-4o-mini", "none"): 1,
    }
    assert set(counting.calls.deployments()) == {"fake/gpt-4o", "other/gpt-4o", "fake/gpt-4o-mini"}


def test_a_first_attempt_elsewhere_is_a_fallback_too(counting: Counting) -> None:
    call = booked(Ending(How.ANSWERED, "gpt-4o-mini"), charged=3)
    call.trace.attempts.append(attempt(MINI, model="gpt-4o-mini"))
    counting.calls.ended(call, None)
    assert counting.shown.by("orch_upstream_fallbacks_total", "to_model") == {("gpt-4o-mini",): 1}


def test_overhead_is_what_was_neither_an_upstreams_nor_a_backoffs(counting: Counting) -> None:
    call = booked(Ending(How.ANSWERED, "gpt-4o"), charged=10)
    call.trace.received_at = time.monotonic() - 100
    call.trace.waited_s = 30
    call.trace.attempts.append(attempt(HERE, took_s=60))
    counting.calls.ended(call, None)
    assert 10 <= counting.shown.value("orch_call_overhead_seconds_sum") < 40


def test_tokens_whose_price_nobody_knows_have_no_cost(counting: Counting) -> None:
    usage = Usage(input_tokens=5, output_tokens=2, estimated=True)
    call = booked(Ending(How.BROKEN, "gpt-4o"), charged=0)
    call.trace.partial = Outcome(model="gpt-4o", deployment=HERE, usage=usage, cost_nanousd=None)
    counting.calls.ended(call, None)

    shown = counting.shown
    assert shown.by("orch_tokens_total", "direction") == {("input",): 5, ("output",): 2}
    assert shown.by("orch_cost_unknown_calls_total", "model") == {("gpt-4o",): 1}
    assert shown.by("orch_cost_nanodollars_total", "model") == {}
    assert shown.by("orch_usage_estimated_calls_total", "model") == {("gpt-4o",): 1}


def test_a_downgrade_is_counted_by_where_it_led(counting: Counting) -> None:
    call = booked(Ending(How.ANSWERED, "gpt-4o-mini"), charged=3)
    assert call.trace.booked is not None
    call.trace.booked = replace(call.trace.booked, model="gpt-4o-mini", downgraded_from="gpt-4o")
    counting.calls.ended(call, None)
    assert counting.shown.by("orch_downgrades_total", "from_model", "to_model") == {("gpt-4o", "gpt-4o-mini"): 1}


def test_however_many_deployments_there_are_the_labels_are_capped(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_metrics, "DEPLOYMENTS_MAX", 3)
    capped = CallMetrics(registry := CollectorRegistry())
    call = booked(Ending(How.ANSWERED, "gpt-4o"), charged=10)
    for number in range(10):
        call.trace.attempts.append(attempt(replace(HERE, upstream=f"u{number}")))
    capped.ended(call, None)
    capped.ended(call, None)

    attempts = Scraped(generate_latest(registry).decode()).by("orch_upstream_attempts_total", "deployment")
    assert attempts == {("u0/gpt-4o",): 2, ("u1/gpt-4o",): 2, ("u2/gpt-4o",): 2, ("other",): 14}
