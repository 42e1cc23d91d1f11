"""One line per call, where it is asked for."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Deployment, Ending, How, Outcome, Receipt, Usage
from proxy.errors import BadRequest, EnergyExhausted, Unauthenticated
from proxy.telemetry.call_log import CallLog
from proxy.telemetry.logs import CALLS
from proxy.testing import fake_call

HERE = Deployment(upstream="fake", provider="openai", model="gpt-4o")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, CALLS)
    return caplog


def fields(told: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in told.records]


def test_a_call_that_ended_is_one_line_with_what_it_came_to(told: pytest.LogCaptureFixture) -> None:
    call = fake_call()
    call.trace.booked = replace(call, action="ai_message")
    call.trace.ending, call.trace.receipt = Ending(How.ANSWERED, "gpt-4o"), Receipt(charged=10, remaining=0)
    usage = Usage(input_tokens=5, output_tokens=2)
    call.trace.outcome = Outcome(model="gpt-4o", deployment=HERE, usage=usage, cost_nanousd=1)

    CallLog().ended(call, None)

    (line,) = fields(told)
    assert line.pop("duration_ms") >= 0
    assert told.messages == ["call answered"]
    assert line == {
        "call": call.id,
        "model": "gpt-4o",
        "action": "ai_message",
        "attempts": 0,
        "input_tokens": 5,
        "output_tokens": 2,
        "charged": 10,
    }


def test_a_refusal_says_why_and_repeats_no_name_that_nobody_knows(told: pytest.LogCaptureFixture) -> None:
    poor = fake_call()
    poor.trace.booked = poor
    CallLog().ended(poor, EnergyExhausted(required=3, available=1))
    CallLog().refused(fake_call("made-up", action="made-up"), BadRequest("no"))
    CallLog().turned_away(Unauthenticated("who?"))

    assert told.messages == ["call refused", "call refused", "request turned away"]
    assert [line["reason"] for line in fields(told)] == ["insufficient_energy", "invalid_request", "invalid_api_key"]
    assert "made-up" not in str(fields(told))


def test_a_call_that_was_never_booked_is_told_by_its_refusal_alone(told: pytest.LogCaptureFixture) -> None:
    CallLog().ended(fake_call(), BadRequest("no"))
    assert told.messages == []


def test_switched_off_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, CALLS)
    CallLog().refused(fake_call(), BadRequest("no"))
    CallLog().turned_away(Unauthenticated("who?"))
    assert caplog.messages == []
