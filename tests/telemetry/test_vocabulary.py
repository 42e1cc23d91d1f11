"""Label values: known names, so many of them, and one word for the rest."""

from __future__ import annotations

from proxy.telemetry.vocabulary import OpenVocabulary, Vocabulary


def test_a_known_name_is_itself_and_any_other_is_other() -> None:
    words = Vocabulary(10)
    words.allow(["gpt-4o"])
    assert [words.label(name) for name in ("gpt-4o", "made-up", "", None)] == ["gpt-4o", "other", "none", "none"]


def test_names_of_a_former_configuration_stay_known() -> None:
    words = Vocabulary(10)
    words.allow(["old"])
    words.allow(["new"])
    assert [words.label("old"), words.label("new")] == ["old", "new"]


def test_beyond_the_cap_even_known_names_are_other() -> None:
    words = Vocabulary(2)
    words.allow(["a", "b", "c"])
    assert [words.label(name) for name in ("c", "a", "b", "c")] == ["c", "a", "other", "c"]


def test_our_own_words_need_not_be_told_but_are_capped() -> None:
    words = OpenVocabulary(2)
    assert [words.label(name) for name in ("gone", "deadline", "stalled", "gone")] == [
        "gone",
        "deadline",
        "other",
        "gone",
    ]
