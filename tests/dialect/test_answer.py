"""Answers: what each event means, when a stream is complete, and what is no answer at all."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from proxy.call import Operation, Part, Usage
from proxy.dialect.answer import (
    REASON_CHARS_MAX,
    NotAnAnswer,
    Progress,
    read_answer,
    usage_event,
    without_empty_reasons,
)
from proxy.dialect.sse import payload

CALL_ID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"  # RFC 9562 §A.6: 2022-02-22T19:22:22Z


def delta(finish_reason: str | None = None, *, index: int = 0, **fields: Any) -> bytes:
    choice = {"index": index, "delta": fields, "logprobs": None, "finish_reason": finish_reason}
    return chunk(choices=[choice], usage=None)


def chunk(**fields: Any) -> bytes:
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}).encode()


TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}


@pytest.mark.parametrize(
    "event",
    [
        delta(content="Hi"),
        delta(role="assistant", content="Hi"),
        delta(refusal="No"),
        delta(reasoning_content="Hm"),
        delta(tool_calls=[TOOL_CALL]),
        delta(audio={"id": "a"}),
        delta(some_new_key={"x": 1}),
        delta("stop"),
        delta("content_filter"),
        chunk(choices=[{"index": 0, "finish_reason": "stop"}]),
        chunk(choices=[{"index": 0, "delta": {"role": "assistant"}}, {"index": 1, "delta": {"content": "x"}}]),
    ],
)
def test_content_is_any_delta_that_says_something_and_any_end_of_a_choice(event: bytes) -> None:
    assert Progress(2).feed(event) is Part.CONTENT


@pytest.mark.parametrize(
    "event",
    [
        delta(role="assistant", content=""),
        delta(role="assistant", content=None, refusal=None, tool_calls=[]),
        delta(),
        delta("", role="assistant"),
        chunk(choices=[], usage=None, prompt_filter_results=[{"prompt_index": 0}]),
        chunk(choices=[{"index": 0, "delta": None}]),
        chunk(),
        b"{}",
    ],
)
def test_everything_before_content_is_prelude(event: bytes) -> None:
    progress = Progress(1)

    assert progress.feed(event) is Part.PRELUDE
    assert not progress.complete
    assert progress.output_chars == 0


def test_a_stream_as_openai_sends_it() -> None:
    progress = Progress(1)
    events = [
        delta(role="assistant", content="", refusal=None),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}),
        b"[DONE]",
    ]

    parts = [progress.feed(event) for event in events]

    assert parts == [Part.PRELUDE, Part.CONTENT, Part.CONTENT, Part.CONTENT, Part.USAGE, Part.DONE]
    assert progress.complete
    assert progress.finish_reasons == ("stop",)
    assert progress.usage == Usage(input_tokens=9, output_tokens=2)
    assert progress.output_chars == 5
    assert progress.error is None


def test_a_stream_is_complete_when_every_choice_has_ended() -> None:
    progress = Progress(2)

    progress.feed(delta("length", index=1))
    progress.feed(delta("length", index=1))
    assert not progress.complete
    progress.feed(delta("stop", index=0))

    assert progress.complete
    assert progress.finish_reasons == ("stop", "length")


@pytest.mark.parametrize("done", [b"[DONE]", b" [DONE] ", b"[DONE]\n"])
def test_done_completes_a_stream_whatever_came_before(done: bytes) -> None:
    progress = Progress(3)

    assert progress.feed(done) is Part.DONE
    assert progress.complete


@pytest.mark.parametrize("index", [None, -1, 5, "0", True, 10**30])
def test_the_only_choice_ends_whatever_its_index(index: Any) -> None:
    progress = Progress(1)

    progress.feed(chunk(choices=[{"index": index, "delta": {}, "finish_reason": "stop"}]))

    assert progress.complete


def test_choices_nobody_asked_for_complete_nothing() -> None:
    progress = Progress(2)

    progress.feed(delta("stop", index=7))
    progress.feed(delta("stop", index=8))

    assert not progress.complete
    assert progress.finish_reasons == ("stop",)


def test_usage_that_comes_with_content_is_kept_and_the_last_one_counts() -> None:
    progress = Progress(1)
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}

    assert progress.feed(chunk(choices=[choice], usage={"prompt_tokens": 9, "completion_tokens": 1})) is Part.CONTENT
    assert progress.feed(chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4})) is Part.USAGE
    assert progress.feed(chunk(choices=[], usage={"prompt_tokens": "many"})) is Part.USAGE
    assert progress.usage == Usage(input_tokens=9, output_tokens=4)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (b'{"error": {"message": "overloaded", "code": 529}}', "overloaded"),
        (b'{"error": "overloaded"}', "overloaded"),
        (b'{"error": ["odd"]}', "the upstream sent an error without a message"),
        (b'{"object": "error", "message": "overloaded"}', "overloaded"),
        (
            chunk(error={"message": "overloaded"}, choices=[{"delta": {"content": "x"}, "finish_reason": "error"}]),
            "overloaded",
        ),
    ],
)
def test_an_error_event_is_no_content_and_completes_nothing(event: bytes, message: str) -> None:
    progress = Progress(1)

    assert progress.feed(event) is Part.PRELUDE
    assert progress.error is not None
    assert progress.error["message"] == message
    assert not progress.complete


def test_a_null_error_is_none() -> None:
    progress = Progress(1)

    assert progress.feed(chunk(error=None, choices=[{"delta": {"content": "x"}}])) is Part.CONTENT
    assert progress.error is None


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"oops",
        b"[1]",
        b'"text"',
        b"null",
        b'{"choices": ',
        b'{"choices": NaN}',
        b'{"choices": {}}',
        b'{"choices": "x"}',
        b'{"choices": [1]}',
        b'{"choices": [{"delta": "x"}]}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":"\\u0041",' + b"[" * 100_000,
    ],
)
def test_what_is_no_event_of_an_answer_is_said_to_be_none(event: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        Progress(1).feed(event)


def test_half_an_emoji_is_content_like_any_other() -> None:
    progress = Progress(1)

    assert progress.feed(b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}') is Part.CONTENT
    assert progress.output_chars == 1


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[{"delta":{"content":"\xf0\x9f"}}]}',
        b'{"choices":[{"delta":{"content":"A"},"logprobs":{"content":[{"logprob":NaN},{"logprob":-Infinity}]}}]}',
        b'\xef\xbb\xbf{"choices":[{"delta":{"content":"A"}}]}',
    ],
    ids=["half a character", "a logprob that is no number", "a BOM"],
)
def test_what_sdks_can_read_is_content_though_it_is_not_quite_json(event: bytes) -> None:
    assert Progress(1).feed(event) is Part.CONTENT


def test_a_finish_reason_is_kept_in_a_form_that_every_store_takes() -> None:
    progress = Progress(1)

    progress.feed(b'{"choices":[{"index":0,"delta":{},"finish_reason":"' + b"\\ud83d" * 1000 + b'"}]}')
    assert progress.finish_reasons == ("?" * REASON_CHARS_MAX,)
    whole = b'{"choices":[{"message":{},"finish_reason":"\\ud83d"}]}'
    assert read_answer(whole, Operation.CHAT).finish_reasons == ("?",)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b'data: {"finish_reason":""}\n\n', b'data: {"finish_reason":null}\n\n'),
        (b'data: {"finish_reason" : "","x":""}\r\n\r\n', b'data: {"finish_reason" : null,"x":""}\r\n\r\n'),
        (b'data: {"finish_reason":"stop"}\n\n', b'data: {"finish_reason":"stop"}\n\n'),
        (b'data: {"content":"\\"finish_reason\\":\\"\\""}\n\n', b'data: {"content":"\\"finish_reason\\":\\"\\""}\n\n'),
    ],
)
def test_an_empty_finish_reason_is_none(sent: bytes, meant: bytes) -> None:
    assert without_empty_reasons(sent) == meant


def test_what_the_model_wrote_is_measured_without_ids_and_sound() -> None:
    progress = Progress(1)

    progress.feed(delta(tool_calls=[TOOL_CALL]))
    assert progress.output_chars == len("f") + len('{"a":')
    progress.feed(delta(audio={"id": "audio_1", "data": "A" * 1000, "transcript": "hello"}))
    assert progress.output_chars == 6 + 5
    progress.feed(delta(content=[{"type": "text", "text": "abc"}]))
    assert progress.output_chars == 11 + 3


KEYS = [
    "choices",
    "delta",
    "index",
    "finish_reason",
    "usage",
    "error",
    "content",
    "message",
    "prompt_tokens",
    "role",
    "data",
]
leaves = st.none() | st.booleans() | st.integers(-1, 2**60) | st.floats(0, 1) | st.sampled_from(["", "stop", "\ud800"])
shapes = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)
likely = st.fixed_dictionaries(
    {"choices": st.lists(st.dictionaries(st.sampled_from(KEYS), shapes, max_size=3), max_size=2) | shapes},
    optional={"usage": shapes, "error": shapes, "data": shapes},
)
received = st.binary(max_size=40) | (shapes | likely).map(lambda value: json.dumps(value).encode())


@settings(max_examples=200, deadline=None)
@given(st.lists(received, max_size=3), st.integers(1, 3))
def test_whatever_comes_it_is_followed_or_said_to_be_no_answer(events: list[bytes], choices: int) -> None:
    progress = Progress(choices)
    for event in events:
        with contextlib.suppress(NotAnAnswer):
            assert isinstance(progress.feed(event), Part)
    assert len(progress.finish_reasons) <= choices
    assert progress.output_chars >= 0


@settings(max_examples=200, deadline=None)
@given(received, st.sampled_from(Operation))
def test_whatever_the_body_it_is_read_or_said_to_be_no_answer(raw: bytes, operation: Operation) -> None:
    with contextlib.suppress(NotAnAnswer):
        assert read_answer(raw, operation).output_chars >= 0


def test_a_whole_chat_answer() -> None:
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"},
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
            "finish_reason": "tool_calls",
        },
    ]
    raw = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 2}}).encode()

    answer = read_answer(raw, Operation.CHAT)

    assert answer.usage == Usage(input_tokens=9, output_tokens=2)
    assert answer.finish_reasons == ("stop", "tool_calls")
    assert answer.output_chars == 5 + 6


def test_a_whole_embeddings_answer() -> None:
    raw = b'{"object":"list","data":[{"embedding":"AAAA","index":0}],"usage":{"prompt_tokens":5,"total_tokens":5}}'

    answer = read_answer(raw, Operation.EMBEDDINGS)

    assert answer.usage == Usage(input_tokens=5, output_tokens=0)
    assert answer.finish_reasons == ()
    assert answer.output_chars == 0


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices":null,"data":null}',
        b'{"choices":[],"data":[]}',
        b'{"choices":[1],"data":[1]}',
    ],
)
def test_a_body_without_an_answer_is_none(raw: bytes, operation: Operation) -> None:
    with pytest.raises(NotAnAnswer) as caught:
        read_answer(raw, operation)
    assert caught.value.error is None


def test_an_error_object_with_a_good_status_is_no_answer_and_is_handed_on() -> None:
    with pytest.raises(NotAnAnswer) as caught:
        read_answer(b'{"error": {"message": "no", "code": 429}, "choices": []}', Operation.CHAT)
    assert caught.value.error == {"message": "no", "code": 429}


def test_the_upstreams_usage_event_keeps_all_it_said_and_gains_ours() -> None:
    original = (
        b'data: {"id":"c","choices":[],"seed":123456789012345678901234,"x_provider":{"queue":1},'
        b'"usage":{"prompt_tokens":9,"completion_tokens":2,"some_details":{"a":1}}}\r\n\r\n'
    )
    usage = Usage(input_tokens=9, output_tokens=2)

    event = usage_event(original, usage, {"energy_charged": 10}, call_id=CALL_ID, model="m")

    assert event.startswith(b"data: ")
    assert event.endswith(b"}\n\n")
    before, after = (json.loads(payload(raw) or b"") for raw in (original, event))
    assert after == {**before, "orch": {"energy_charged": 10}}
    assert Progress(1).feed(payload(event) or b"") is Part.USAGE


@pytest.mark.parametrize("original", [None, b"data: oops\n\n", b"data: []\n\n", b": comment\n\n", b""])
def test_without_a_usage_event_of_the_upstream_one_is_made_that_sdks_take(original: bytes | None) -> None:
    usage = Usage(input_tokens=9, output_tokens=2, cached_input_tokens=4)

    event = usage_event(original, usage, {"energy_charged": 10}, call_id=CALL_ID, model="gpt-4o")

    made = ChatCompletionChunk.model_validate(json.loads(payload(event) or b""), strict=True)
    assert (made.id, made.model, made.choices, made.created) == (CALL_ID, "gpt-4o", [], 1645557742)
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (9, 2, 11)
    assert (made.model_extra or {})["orch"] == {"energy_charged": 10}
    progress = Progress(1)
    assert progress.feed(payload(event) or b"") is Part.USAGE
    assert progress.usage == usage


@pytest.mark.parametrize("call_id", ["call-1", "", "9f1b6a3e-5b1e-4b1e-8b1e-9f1b6a3e5b1e"])
def test_a_call_id_without_a_time_gives_none(call_id: str) -> None:
    event = usage_event(None, Usage(input_tokens=1, output_tokens=1), {}, call_id=call_id, model="m")

    assert json.loads(payload(event) or b"")["created"] == 0
