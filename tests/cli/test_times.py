"""Times as an operator writes them."""

from __future__ import annotations

import pytest

from proxy.cli.times import length_s, moment, span
from proxy.errors import BadRequest

NOW = 1_780_000_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", NOW - 90_000),
        ("7d", NOW - 7 * 86_400_000),
        ("2w", NOW - 14 * 86_400_000),
        ("999999999w", 0),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T01:00", 3_600_000),
        ("1970-01-01T01:00Z", 3_600_000),
        ("1970-01-01T01:00+02:00", 0),
        ("2026-07-01 10:00:00.5", 1_782_900_000_500),
        (" 1970-01-02 ", 86_400_000),
    ],
)
def test_a_time_is_so_long_ago_or_a_date(text: str, ms: int) -> None:
    assert moment(text, "--since", now_ms=NOW) == ms


def test_no_time_is_none() -> None:
    assert moment(None, "--since") is None
    assert span(None, None) == (None, None)


@pytest.mark.parametrize("text", ["", "x", "7", "7y", "-7d", "1.5d", "2026-13-01", "yesterday", "9" * 400])
def test_what_is_no_time_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^--since .* write 7d"):
        moment(text, "--since")


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    assert span("2026-07-01", "2026-07-02") == (1_782_864_000_000, 1_782_950_400_000)
    with pytest.raises(BadRequest, match="is not after"):
        span("2026-07-02", "2026-07-01")


def test_a_length_of_time_is_a_count_of_units() -> None:
    assert length_s("10m", "--grace") == 600
    for wrong in ("10", "m", "2026-07-01", ""):
        with pytest.raises(BadRequest, match=r"^--grace"):
            length_s(wrong, "--grace")
