"""Request checks: what OpenAI would refuse is refused in its words, the rest is the provider's to judge."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.call import Operation
from proxy.dialect.needs import needs
from proxy.dialect.request import NAME_CHARS_MAX, Own, check, choices, take_own
from proxy.errors import BadRequest

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [USER], **fields}


def embeddings(value: object) -> dict[str, Any]:
    return {"model": "text-embedding-3-small", "input": value}


def refusal(body: dict[str, Any], operation: Operation = Operation.CHAT) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        check(body, operation)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(stream=True, stream_options={"include_usage": True}, n=2, temperature=0, top_p=0.5, max_tokens=1),
        chat(stream=None, n=None, temperature=None, max_tokens=None, tools=None, metadata=None, stop=None),
        chat(stop="x", metadata={"a": "b"}, max_completion_tokens=10**30, temperature=99),
        chat(stop=["x", "y"], tools=[], some_new_field={"deep": [1]}),
        chat(metadata={"auto_select_model": True, "action": "ai_scan"}),
        chat(messages=[{"role": role, "content": "x"} for role in ("developer", "system", "user", "tool", "function")]),
        chat(messages=[{"role": "assistant", "content": None, "tool_calls": []}, {"role": "assistant"}]),
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "some_new_part"}]}]),
    ],
)
def test_what_openai_accepts_is_accepted(body: dict[str, Any]) -> None:
    check(body, Operation.CHAT)


@pytest.mark.parametrize("value", ["x", ["x", ""], [1, 2], [[1], [2, 3]]])
def test_every_form_of_embeddings_input_is_accepted(value: object) -> None:
    check(embeddings(value), Operation.EMBEDDINGS)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"messages": [USER]}, "model", "Missing required parameter: 'model'"),
        (chat(model=None), "model", "Missing required parameter"),
        (chat(model=""), "model", "empty string"),
        (chat(model=4), "model", "expected a string, but got an integer instead"),
        (chat(model="x" * 513), "model", "at most 512 characters, but got 513"),
        (chat(model="gpt\ud800"), "model", "surrogate"),
        (chat(model="gpt\0"), "model", "NUL"),
        ({"model": "gpt-4o"}, "messages", "Missing required parameter: 'messages'"),
        (chat(messages=[]), "messages", "empty array"),
        (chat(messages="hi"), "messages", "expected an array of objects, but got a string instead"),
        (chat(messages=[USER, "hi"]), "messages[1]", "expected an object"),
        (chat(messages=[{"content": "hi"}]), "messages[0].role", "Missing required parameter"),
        (chat(messages=[{**USER, "role": 1}]), "messages[0].role", "expected a string"),
        (chat(messages=[USER, USER, {**USER, "role": "bot"}]), "messages[2].role", "Invalid value: 'bot'. Supported"),
        (chat(messages=[{**USER, "role": "My prompt"}]), "messages[0].role", "Invalid value. Supported"),
        (chat(messages=[{"role": "user"}]), "messages[0].content", "Missing required parameter"),
        (chat(messages=[{"role": "user", "content": 1}]), "messages[0].content", "expected a string or an array"),
        (chat(messages=[{"role": "user", "content": ["x"]}]), "messages[0].content[0]", "expected an object"),
        (chat(messages=[{"role": "user", "content": [{}]}]), "messages[0].content[0].type", "Missing required"),
        (chat(messages=[{"role": "user", "content": [{"type": 1}]}]), "messages[0].content[0].type", "a string"),
        (chat(stream="true"), "stream", "expected a boolean, but got a string instead"),
        (chat(n=True), "n", "expected an integer, but got a boolean instead"),
        (chat(n=1.0), "n", "expected an integer, but got a decimal instead"),
        (chat(n=0), "n", "Expected a value >= 1"),
        (chat(max_tokens=0), "max_tokens", "Expected a value >= 1"),
        (chat(max_completion_tokens=-1), "max_completion_tokens", "Expected a value >= 1"),
        (chat(max_tokens="10"), "max_tokens", "expected an integer"),
        (chat(temperature="hot"), "temperature", "expected a number"),
        (chat(temperature=False), "temperature", "expected a number"),
        (chat(top_p=[]), "top_p", "expected a number, but got an array instead"),
        (chat(tools={}), "tools", "expected an array"),
        (chat(stop=1), "stop", "expected a string or an array of strings"),
        (chat(stop=["a", 1]), "stop", "expected a string or an array of strings"),
        (chat(metadata=[]), "metadata", "expected an object"),
        (chat(metadata={"a": 1}), "metadata.a", "expected a string"),
        (chat(stream_options={}), "stream_options", "only allowed when 'stream' is enabled"),
        (chat(stream=False, stream_options={}), "stream_options", "only allowed when 'stream' is enabled"),
        (chat(stream=True, stream_options=1), "stream_options", "expected an object"),
    ],
)
def test_a_wrong_chat_request_is_refused_naming_the_place(body: dict[str, Any], param: str, message: str) -> None:
    error = refusal(body)

    assert error.param == param
    assert message in str(error)


@pytest.mark.parametrize(
    ("value", "param", "message"),
    [
        (None, "input", "Missing required parameter"),
        ("", "input", "empty string"),
        ([], "input", "empty array"),
        ({}, "input", "expected a string or an array"),
        (["a", 1], "input[1]", "expected a string, but got an integer"),
        ([1, "a"], "input[1]", "expected an integer, but got a string"),
        ([1, True], "input[1]", "got a boolean"),
        ([None], "input[0]", "got null"),
        ([[1], []], "input[1]", "empty array"),
        ([[1], [2, "x"]], "input[1][1]", "expected an integer"),
    ],
)
def test_a_wrong_embeddings_input_is_refused_naming_the_place(value: object, param: str, message: str) -> None:
    error = refusal(embeddings(value), Operation.EMBEDDINGS)

    assert error.param == param
    assert message in str(error)


def test_a_refusal_repeats_little_of_what_was_sent_and_only_what_can_be_written() -> None:
    error = refusal(chat(messages=[{**USER, "role": "\ud800" + "x" * 10_000}]))
    key = refusal(chat(metadata={"\ud800" + "x" * 10_000: 1}))

    assert len(str(error)) < 250
    assert len(key.param or "") < 60
    assert f"{error} {key} {key.param}".encode("ascii")


@pytest.mark.parametrize(("n", "asked"), [(None, 1), (1, 1), (3, 3), (0, 1), (True, 1), ("2", 1)])
def test_choices_are_n_and_one_where_it_is_not_said(n: object, asked: int) -> None:
    assert choices(chat(n=n)) == asked
    assert choices(chat()) == 1


def test_our_own_fields_are_taken_out_of_a_copy_and_the_rest_stays() -> None:
    ours = {"action": "ai_scan", "workspace_id": "w", "prospect_id": "p", "auto_select_model": "false"}
    body = chat(metadata={**ours, "theirs": "x"}, user="u")
    before = deepcopy(body)

    kept, own = take_own(body)

    assert own == Own(action="ai_scan", workspace="w", prospect="p", auto_downgrade=False, user="u")
    assert kept == chat(metadata={"theirs": "x"}, user="u")
    assert body == before


def test_metadata_that_only_spoke_to_us_is_removed_and_an_empty_one_of_theirs_is_not() -> None:
    assert take_own(chat(metadata={"action": "x"}))[0] == chat()
    assert take_own(chat(metadata={}))[0] == chat(metadata={})
    assert take_own(chat(metadata=None))[0] == chat(metadata=None)
    assert take_own(chat())[1] == Own()


def test_own_fields_that_are_null_or_empty_say_nothing() -> None:
    kept, own = take_own(chat(metadata={"action": "", "workspace_id": None, "auto_select_model": None}, user=""))

    assert own == Own()
    assert kept == chat(user="")


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_auto_select_model_is_a_switch_in_either_spelling(value: object, expected: object) -> None:
    assert take_own(chat(metadata={"auto_select_model": value}))[1].auto_downgrade is expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"action": 1}}, "metadata.action"),
        ({"metadata": {"action": "x" * (NAME_CHARS_MAX + 1)}}, "metadata.action"),
        ({"metadata": {"workspace_id": ["w"]}}, "metadata.workspace_id"),
        ({"metadata": {"prospect_id": "\udc00"}}, "metadata.prospect_id"),
        ({"metadata": {"auto_select_model": "no"}}, "metadata.auto_select_model"),
        ({"metadata": {"auto_select_model": 1}}, "metadata.auto_select_model"),
        ({"user": 42}, "user"),
        ({"user": "a\0b"}, "user"),
    ],
)
def test_own_fields_of_a_wrong_type_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        take_own(chat(**fields))
    assert caught.value.param == param


FIELDS = ["model", "messages", "input", "role", "content", "type", "metadata", "action", "auto_select_model", "user"]
FIELDS += ["n", "stream", "stream_options", "max_tokens", "stop", "tools", "modalities", "response_format"]
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(0, 1)
    | st.sampled_from(["", "user", "text", "audio", "\ud800"])
)
shapes = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
)
bodies = st.dictionaries(st.sampled_from(FIELDS), shapes, max_size=8) | st.builds(
    lambda extra, messages: chat(messages=messages, **extra),
    st.dictionaries(st.sampled_from(FIELDS[6:]), shapes, max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["role", "content"]), shapes, max_size=2), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(bodies, st.sampled_from(Operation))
def test_no_shape_of_a_body_ends_in_anything_but_a_bad_request(body: dict[str, Any], operation: Operation) -> None:
    before = repr(body)
    with contextlib.suppress(BadRequest):
        check(body, operation)
    with contextlib.suppress(BadRequest):
        take_own(body)
    assert choices(body) >= 1
    assert needs(body, operation).input_tokens >= 0
    assert repr(body) == before
