"""What paths and patterns take out, and how wrong ones are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxy.journal.masks import Masks, masks

BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": [{"text": "there"}]}],
    "user": {"email": "a@b.c", "more": {"email": "d@e.f"}},
}
GONE = "[redacted]"


def fresh() -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [dict(message) for message in BODY["messages"]],
        "user": {"email": "a@b.c", "more": {"email": "d@e.f"}},
    }


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("$.model", {"model": GONE}),
        ("$['model']", {"model": GONE}),
        (
            "$.messages[*].content",
            {"messages": [{"role": "user", "content": GONE}, {"role": "user", "content": GONE}]},
        ),
        ("$.messages[0]", {"messages": [GONE, BODY["messages"][1]]}),
        ("$..email", {"user": {"email": GONE, "more": {"email": GONE}}}),
        ("$.user.*", {"user": {"email": GONE, "more": GONE}}),
        ("$.user..email", {"user": {"email": GONE, "more": {"email": GONE}}}),
        ("$.nothing.here", {}),
        ("$.messages[7].content", {}),
        ("$.model.deeper[0]", {}),
    ],
)
def test_a_path_takes_out_what_it_leads_to(path: str, left: dict[str, Any]) -> None:
    assert masks([path]).cover(fresh()) == BODY | left


def test_the_root_is_everything() -> None:
    assert masks(["$"]).cover(fresh()) == GONE


def test_several_paths_are_all_taken_out_whatever_their_order() -> None:
    assert masks(["$.user", "$..email", "$.model"]).cover(fresh()) == BODY | {"user": GONE, "model": GONE}


def test_a_name_at_any_depth_is_found_however_deep() -> None:
    deep: Any = {"secret": 1}
    for _ in range(5_000):
        deep = [deep]
    covered = masks(["$..secret"]).cover(deep)
    while isinstance(covered, list):
        covered = covered[0]
    assert covered == {"secret": GONE}


def test_a_pattern_takes_out_what_it_matches() -> None:
    assert masks([r"\b\d{4}-\d{4}\b", "(?i)iban"]).blot("IBAN 1234-5678, 99") == "[redacted] [redacted], 99"


def test_nothing_asked_takes_nothing_out() -> None:
    assert Masks().cover(fresh()) == BODY
    assert Masks().blot("a") == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$messages", "from its character 2 on"),
        ("$.messages[", "from its character 11 on"),
        ("$.messages[-1]", "no path"),
        ("$.a b", "no path"),
        ("(", "no regular expression"),
        ("x*", "empty text"),
        ("", "empty text"),
    ],
)
def test_what_is_no_mask_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        masks([text])
