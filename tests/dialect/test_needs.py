"""Needs: what a model must be able to do to answer a request."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Needs, Operation
from proxy.dialect.needs import needs


def needed(*parts: dict[str, Any], **fields: Any) -> set[str]:
    content = [{"type": "text", "text": "look"}, *parts]
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": content}]
    found = needs({"model": "m", "messages": messages, **fields}, Operation.CHAT)
    return {name for name in ("vision", "audio", "tools", "schema") if getattr(found, name)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"schema"}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"modalities": ["text", "audio"]}, {"audio"}),
        ({"modalities": ["text"]}, set()),
    ],
)
def test_fields_that_need_something(fields: dict[str, Any], expected: set[str]) -> None:
    assert needed(**fields) == expected


def test_parts_that_need_something() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}

    assert needed(picture) == {"vision"}
    assert needed(picture, sound) == {"vision", "audio"}
    assert needed({"type": "some_new_part"}) == set()


def test_the_text_is_measured_and_the_pictures_are_not() -> None:
    text = {"role": "user", "content": "x" * 4000}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}

    alone = needs({"messages": [text]}, Operation.CHAT).input_tokens
    with_picture = needs({"messages": [text, {"role": "user", "content": [picture]}]}, Operation.CHAT).input_tokens

    assert 1000 <= alone < 1020
    assert alone < with_picture < alone + 20


def test_embeddings_need_room_for_their_input_only() -> None:
    assert needs({"input": ["x" * 400, "y" * 4], "tools": [1]}, Operation.EMBEDDINGS).tools is False
    assert needs({"input": ["x" * 400, "y" * 4]}, Operation.EMBEDDINGS) == Needs(input_tokens=101)
