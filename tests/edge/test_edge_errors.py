"""The table from errors to HTTP."""

from __future__ import annotations

import json

import pytest

from proxy import errors
from proxy.edge.errors import failure


def _every_error(base: type[errors.OrchError] = errors.OrchError) -> list[type[errors.OrchError]]:
    return [
        kind
        for sub in base.__subclasses__()
        for kind in (sub, *_every_error(sub))
        if kind.__module__ == errors.__name__
    ]


ABSTRACT = {errors.CallerError, errors.UpstreamError, errors.ConfigError}


@pytest.mark.parametrize("kind", [kind for kind in _every_error() if kind not in ABSTRACT])
def test_no_error_that_a_call_can_meet_looks_like_a_bug_of_ours(kind: type[errors.OrchError]) -> None:
    error = {
        errors.EnergyExhausted: lambda: errors.EnergyExhausted(required=10, available=5),
        errors.WrongMethod: lambda: errors.WrongMethod("no", allow=["POST"]),
    }.get(kind, lambda: kind("no"))()

    assert 400 <= failure(error).status < 600
    assert failure(error).status != 500
    assert set(json.loads(failure(error).body)["error"]) == {"message", "type", "param", "code"}


def test_an_energy_refusal_names_the_figures_and_forbids_a_retry() -> None:
    shown = failure(errors.EnergyExhausted(required=10, available=5))

    assert shown.status == 429
    assert shown.error["message"] == "Insufficient energy. Required: 10, Available: 5"
    assert (shown.error["type"], shown.error["code"]) == ("insufficient_quota", "insufficient_energy")
    assert shown.headers == {"x-should-retry": "false"}


def test_an_energy_refusal_has_the_status_its_policy_asks_for() -> None:
    assert failure(errors.EnergyExhausted(required=10, available=5, status=402)).status == 402


def test_what_the_provider_said_of_a_bad_request_is_relayed() -> None:
    detail: dict[str, object] = {"message": "bad", "type": "invalid_request_error", "param": "tools[0]", "code": "x"}
    shown = failure(errors.UpstreamRejected("bad", status=422, detail=detail), attempts=1)

    assert shown.status == 422
    assert shown.error == {"message": "bad", "type": "invalid_request_error", "param": "tools[0]", "code": "x"}


def test_what_else_the_provider_said_of_it_is_relayed_too() -> None:
    detail: dict[str, object] = {"message": "filtered", "code": "content_filter", "innererror": {"hate": True}}
    shown = failure(errors.UpstreamRejected("OpenAI API error: 400 - filtered", status=400, detail=detail))

    assert shown.error["message"] == "OpenAI API error: 400 - filtered"
    assert (shown.error["code"], shown.error["innererror"]) == ("content_filter", {"hate": True})


def test_an_error_is_written_whatever_the_provider_put_into_it() -> None:
    detail: dict[str, object] = {"code": 10**30, "half an emoji": "\ud83d"}
    shown = failure(errors.UpstreamRejected("bad \ud83d", detail=detail))

    assert json.loads(shown.body)["error"]["code"] == 10**30
    assert json.loads(shown.event.removeprefix(b"data: ")) == json.loads(shown.body)


def test_a_providers_refusal_of_our_key_is_not_shown_as_the_callers_401() -> None:
    assert failure(errors.UpstreamRefused("OpenAI API error: 401", status=401)).status == 502


def test_what_we_already_retried_is_not_to_be_retried_by_the_sdk() -> None:
    assert failure(errors.UpstreamUnavailable("down"), attempts=3).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in failure(errors.JournalUnavailable("down")).headers


def test_a_rate_limit_hands_on_how_long_to_wait_rounded_up() -> None:
    assert failure(errors.UpstreamLimited("slow down", retry_after_s=1.2)).headers["retry-after"] == "2"


def test_an_error_of_a_stream_is_one_event() -> None:
    event = failure(errors.UpstreamBroke("cut")).event

    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n\n") == 1
