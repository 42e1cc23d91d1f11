"""JSON bodies: nothing changed on the way through, nothing that crashes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialect.body import NotJson, decode, dump, parse
from proxy.errors import BadRequest

DEPTH_MAX = 200
VALUES_MAX = 1_000_000

# Every string JSON can say, lone surrogates too, and integers beyond any machine word.
texts = st.text(st.characters(), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(texts, values, max_size=4)
fragments = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\\u",
        b"d800",
        b"NaN",
        b"-",
        b"1",
        b"e9",
        b"9" * 25,
        b"\xff",
        b"\x00",
        b" ",
    ]
)


@settings(max_examples=200, deadline=None)
@given(objects)
def test_what_is_said_is_what_is_sent(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()

    parsed = parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX)

    assert repr(parsed) == repr(body)  # repr tells 1 from 1.0 and from True
    assert repr(parse(dump(parsed), depth_max=DEPTH_MAX, values_max=VALUES_MAX)) == repr(body)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=64)
    | st.lists(fragments, max_size=20).map(b"".join)
    | st.lists(fragments, max_size=9).map(lambda parts: b'{"a":' + b"".join(parts) + b"}")
)
def test_whatever_the_bytes_a_body_is_parsed_and_can_be_sent_or_is_a_bad_request(raw: bytes) -> None:
    with contextlib.suppress(BadRequest):
        body = parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX)
        assert decode(dump(body)) == body


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "body is empty"),
        (b" \n", "body is empty"),
        (b'{"a": }', "line 1 column 7"),
        (b'{"a": 1', "line 1 column"),
        (b'{"a":\n NaN}', "NaN is not JSON: line 2 column 2"),
        (b'{"a": -Infinity}', "Infinity is not JSON"),
        (b'{"a": 1234567890123456789012345, "b": NaN}', "NaN is not JSON"),
        (b'{"a": "\\ud800", "b": 1e999}', "too large"),
        (b'{"a": 1e999}', "infinity"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80", "b": "\\u0041"}', "utf-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        ('{"a": "x"}'.encode("utf-16"), "could not parse"),
        (b"[" * 100_000, "could not parse"),
        (b'{"\\ud800": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"9" * 30, "must be a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_saying_what_and_where(raw: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX)


def nested(levels: int, innermost: str = "") -> bytes:
    """An object of that many levels in all."""
    return b'{"a":' + b"[" * (levels - 1) + innermost.encode() + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("depth_max", [4, 200, 900])
def test_depth_is_counted_to_the_level(depth_max: int) -> None:
    assert parse(nested(depth_max), depth_max=depth_max, values_max=VALUES_MAX)
    with pytest.raises(BadRequest, match=f"more than {depth_max} levels") as caught:
        parse(nested(depth_max + 1), depth_max=depth_max, values_max=VALUES_MAX)
    assert caught.value.reason == "too_deep"


def test_many_brackets_side_by_side_or_in_text_are_not_depth() -> None:
    flat = json.dumps({"a": [{}] * 500, "b": "[" * 500}).encode()

    assert len(parse(flat, depth_max=4, values_max=VALUES_MAX)["a"]) == 500


def from_a_deep_stack(levels: int, work: Callable[[], bytes]) -> bytes:
    return work() if levels == 0 else from_a_deep_stack(levels - 1, work)


def test_a_deep_body_is_dumped_from_deep_in_the_chain_too() -> None:
    raw = nested(900, '{"k":["x",1.5,null,true,"y"],"":{},"l":[]}')
    body = parse(raw, depth_max=1000, values_max=VALUES_MAX)

    assert from_a_deep_stack(300, lambda: dump(body)) == raw


def test_of_two_equal_keys_the_last_is_priced_and_sent() -> None:
    for raw in (b'{"model": "a", "model": "b"}', b'{"model": "a", "model": "b", "x": 123456789012345678901234}'):
        body = parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX)
        assert body["model"] == "b"
        assert dump(body).count(b"model") == 1


def test_lone_surrogates_and_big_integers_go_through_unchanged() -> None:
    raw = (
        b'{"half":"\\ud83d","swapped":"\\udc4d\\ud83d","whole":"\\ud83d\\udc4d","seed":123456789012345678901234567890}'
    )

    assert dump(parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX)) == raw


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, -(10**19), 10**4299])
def test_integers_at_the_edges_of_a_machine_word_stay_integers(number: int) -> None:
    raw = b'{"seed":%d}' % number

    assert parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX) == {"seed": number}
    assert dump({"seed": number}) == raw


def test_digits_in_text_are_no_reason_to_change_anything() -> None:
    raw = b'{"card":"4111111111111111111111","pi":0.1234567890123456789}'

    assert parse(raw, depth_max=DEPTH_MAX, values_max=VALUES_MAX) == {
        "card": "4111111111111111111111",
        "pi": 0.12345678901234568,
    }


def test_any_json_value_can_be_decoded_and_the_message_repeats_nothing_of_it() -> None:
    assert decode(b"[1]") == [1]
    assert math.isclose(decode(b"1.5"), 1.5)
    with pytest.raises(NotJson) as caught:
        decode(b'{"secret": sk-123}')
    assert "sk-123" not in str(caught.value)


@pytest.mark.parametrize("bulk", [b"{},", b"[],", b"1,", b'"",'])
def test_more_values_than_the_cap_are_refused_before_they_are_parsed(bulk: bytes) -> None:
    raw = b'{"a": [' + bulk * 1000 + b"1]}"

    with pytest.raises(BadRequest, match="json_values_max"):
        parse(raw, depth_max=DEPTH_MAX, values_max=999)

    assert len(parse(raw, depth_max=DEPTH_MAX, values_max=2500)["a"]) == 1001


def test_a_comma_in_a_text_is_no_value() -> None:
    raw = b'{"a": "' + rb"one, [two], {three}, \"four\", " * 1000 + b'"}'

    assert parse(raw, depth_max=DEPTH_MAX, values_max=10)["a"].count(",") == 4000
