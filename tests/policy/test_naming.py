"""Names: globs keep case, suggestions are bounded, lists are cut."""

from __future__ import annotations

import pytest

from proxy.policy.naming import COMPARED_CHARS_MAX, did_you_mean, listing, matches


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-*", True),
        ("GPT-4o", "gpt-*", False),
        ("a[1]", "a[1]", True),  # a name with signs of a glob is still itself
        ("gpt-4o", "4o", False),
    ],
)
def test_a_pattern_is_a_name_or_a_glob(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, [pattern]) is fits


def test_a_slip_is_understood_among_thousands() -> None:
    known = [f"model-{number}" for number in range(5_000)] + ["gpt-4o"]
    assert did_you_mean("gpt-4p", known) == "; did you mean 'gpt-4o'?"


def test_what_resembles_nothing_gets_no_suggestion() -> None:
    assert did_you_mean("zzz", ["gpt-4o"]) == ""
    assert did_you_mean("g" * (COMPARED_CHARS_MAX + 1), ["g" * COMPARED_CHARS_MAX]) == ""


def test_a_list_says_how_many_it_leaves_out() -> None:
    assert listing(["b", "a"]) == "a, b"
    assert listing([]) == "none"
    assert listing(f"m{number:02}" for number in range(22)).endswith("m19 and 2 more")
