"""What reads answer, made of a row as it is stored."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.edge.shown import CallShown, call_fields

ROW: dict[str, Any] = {
    **dict.fromkeys(CallShown.model_fields),
    "id": "c1",
    "state": "open",
    "operation": "chat",
    "requested_model": "gpt-4o",
    "policy_version": "p",
    "created_at": 5,
    "points_held": 10,
    "points_charged": 0,
    "points_refunded": 0,
    "cost_nanousd": None,
    "input_tokens": None,
    "output_tokens": None,
    "cached_input_tokens": None,
    "usage_estimated": 0,
    "attempts": None,
    "account": "app/ana",
}


def test_a_call_that_runs_shows_what_is_held() -> None:
    shown = CallShown.model_validate(call_fields(ROW))

    assert (shown.energy.held, shown.cost_usd, shown.attempts, shown.usage.estimated) == (10, None, (), False)


def test_a_call_that_ended_holds_nothing_and_tells_its_cost_exactly() -> None:
    ended = {**ROW, "state": "closed", "points_charged": 10, "cost_nanousd": 1500, "attempts": "[]"}
    shown = CallShown.model_validate(call_fields(ended))

    assert (shown.energy.held, shown.energy.charged, shown.cost_usd) == (0, 10, "0.0000015")


def test_nothing_is_shown_that_the_shape_does_not_name() -> None:
    assert "account" not in call_fields(ROW)
    with pytest.raises(ValidationError):
        CallShown.model_validate({**call_fields(ROW), "account": "app/ana"})
