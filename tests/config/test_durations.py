"""Durations: how they are written, and what is said of those that are not."""

from __future__ import annotations

import pytest

from proxy.config.durations import checked_duration, duration_ms


@pytest.mark.parametrize(
    ("text", "ms"), [("90d", 7_776_000_000), ("12h", 43_200_000), ("30m", 1_800_000), ("45s", 45_000), ("0s", 0)]
)
def test_a_number_and_a_unit_are_a_duration(text: str, ms: int) -> None:
    assert duration_ms(text) == ms
    assert checked_duration(text) == text


@pytest.mark.parametrize(
    "wrong", ["90", 90, "d", "1.5h", "90 d", "-1d", "1w", "90d12h", "", None, True, "١d", "9" * 13 + "s"]
)
def test_what_is_no_duration_is_shown_how_one_is_written(wrong: object) -> None:
    with pytest.raises(ValueError, match="such as 90d or 12h"):
        checked_duration(wrong)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match="100 years"):
        duration_ms("36501d")
