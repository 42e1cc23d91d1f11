"""Usage: token counts are read with distrust, and estimated where there are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.call import Usage
from proxy.dialect.usage import TOKENS_MAX, estimate_input_tokens, estimate_tokens, parse_usage, text_chars


def usage(sent: int, output: int, cached: int = 0) -> Usage:
    return Usage(input_tokens=sent, output_tokens=output, cached_input_tokens=cached)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, usage(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, usage(10, 5, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None}, usage(10, 5)),
        ({"prompt_tokens": 8, "total_tokens": 8}, usage(8, 0)),
        ({"prompt_tokens": 8}, usage(8, 0)),
        ({"prompt_tokens": 8, "total_tokens": 20}, usage(8, 12)),
        ({"total_tokens": 20, "completion_tokens": 5}, usage(15, 5)),
        ({"total_tokens": 3, "completion_tokens": 5}, usage(0, 5)),
        ({"total_tokens": 20}, usage(20, 0)),
        ({"input_tokens": 10, "output_tokens": 5}, usage(10, 5)),
        ({"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 3}}, usage(10, 5, 3)),
        ({"input_tokens": 10, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 2}, usage(19, 0, 7)),
        ({"prompt_tokens": 17, "completion_tokens": 1, "cache_read_input_tokens": 7}, usage(17, 1, 7)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 6}, usage(10, 5, 6)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, usage(0, 0)),
        ({"prompt_tokens": TOKENS_MAX, "completion_tokens": 1}, usage(TOKENS_MAX, 1)),
    ],
)
def test_counts_are_read_under_every_name_in_use(value: dict[str, Any], expected: Usage) -> None:
    assert parse_usage(value) == expected


@pytest.mark.parametrize("hostile", [-1, 1.5, 5.0, "5", True, None, [5], {"n": 5}, TOKENS_MAX + 1, 10**40])
def test_a_count_that_cannot_be_one_is_treated_as_absent(hostile: object) -> None:
    assert parse_usage({"prompt_tokens": hostile}) is None
    assert parse_usage({"prompt_tokens": 3, "completion_tokens": hostile}) == usage(3, 0)
    assert parse_usage({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": hostile}) == usage(3, 2)
    assert parse_usage({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": hostile}}) == usage(3, 0)


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"completion_tokens": 5}])
def test_no_input_count_is_no_usage(value: object) -> None:
    assert parse_usage(value) is None


def test_more_cached_than_sent_is_no_more_than_sent() -> None:
    assert parse_usage({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}) == usage(3, 0, 3)


COUNTS = ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens"]
COUNTS += ["prompt_tokens_details", "cache_read_input_tokens", "cache_creation_input_tokens"]
numbers = st.integers() | st.integers(0, 99) | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
counts = st.dictionaries(st.sampled_from(COUNTS), numbers | st.dictionaries(st.sampled_from(COUNTS), numbers))


@settings(max_examples=200, deadline=None)
@given(numbers | st.lists(numbers) | counts)
def test_whatever_is_sent_as_usage_gives_counts_that_add_up_or_nothing(value: object) -> None:
    found = parse_usage(value)

    if found is not None:
        assert 0 <= found.cached_input_tokens <= found.input_tokens <= 3 * TOKENS_MAX
        assert 0 <= found.output_tokens <= TOKENS_MAX


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_estimates_round_up(chars: int, tokens: int) -> None:
    assert estimate_tokens(chars) == tokens


def test_tools_and_tool_calls_are_input_too() -> None:
    plain = {"messages": [{"role": "user", "content": "hi"}]}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"y" * 400: {"type": "string"}}}},
    }

    with_call = {"messages": [*plain["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]}
    with_tool = {**plain, "tools": [tool]}

    assert estimate_input_tokens(with_call) >= estimate_input_tokens(plain) + 100
    assert estimate_input_tokens(with_tool) >= estimate_input_tokens(plain) + 100


@pytest.mark.parametrize(
    ("value", "tokens"), [("x" * 8, 2), (["x" * 8, "y"], 3), ([1, 2, 3], 3), ([[1, 2], [3]], 3), (None, 0), (7, 0)]
)
def test_an_embeddings_input_is_counted_in_each_of_its_forms(value: object, tokens: int) -> None:
    assert estimate_input_tokens({"input": value}) == tokens


def test_text_is_found_at_any_depth_without_recursion() -> None:
    deep: Any = "text"
    for _ in range(5000):
        deep = [deep]

    assert text_chars(deep) == 4
    assert text_chars({"text": "ab", "id": "not text", "items": [{"transcript": "c"}, {"data": "AAAA"}]}) == 3


def test_a_schema_with_half_a_surrogate_pair_is_measured_as_well() -> None:
    assert estimate_input_tokens({"tools": [{"name": "\ud800"}]}) > 0
