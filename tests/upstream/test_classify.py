"""Classify: what a provider's error means."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from proxy.errors import (
    CONTEXT_EXCEEDED,
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from proxy.redaction import redact
from proxy.upstream.classify import (
    MESSAGE_CHARS_MAX,
    QUOTA_EXHAUSTED,
    RETRY_AFTER_S_MAX,
    classify,
    classify_object,
    error_object,
    retry_after_s,
)


def said(message: str = "no", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **fields}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, said("bad temperature", param="temperature"), UpstreamRejected),
        (404, said("no such file", param="file_id"), UpstreamRejected),
        (413, said("too large"), UpstreamRejected),
        (415, said(), UpstreamRejected),
        (422, b'{"detail": [{"loc": ["body", "messages"]}]}', UpstreamRejected),
        (400, said("filtered", code="content_filter"), UpstreamRejected),
        (400, said("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"), UpstreamRefused),
        (400, said("Your credit balance is too low to access the API"), UpstreamRefused),
        (400, said("no", code="model_not_found"), UpstreamRefused),
        (401, said("wrong key"), UpstreamRefused),
        (403, said("no permission"), UpstreamRefused),
        (402, b"", UpstreamRefused),
        (404, said("The model `x` does not exist", code="model_not_found"), UpstreamRefused),
        (404, said("model 'x' not found, try pulling it first"), UpstreamRefused),
        (404, b"<html>nginx</html>", UpstreamRefused),
        (429, said("slow down"), UpstreamLimited),
        (429, said("pay first", code="insufficient_quota"), UpstreamRefused),
        (429, said("pay first", type="insufficient_quota"), UpstreamRefused),
        (302, b"", UpstreamRefused),
        (408, said(), UpstreamUnavailable),
        (409, said(), UpstreamUnavailable),
        (500, said(), UpstreamUnavailable),
        (503, b"<html>", UpstreamUnavailable),
        (529, said("overloaded"), UpstreamUnavailable),
        (418, said(), UpstreamUnavailable),
        (204, b"", UpstreamUnavailable),
    ],
)
def test_each_status_has_its_error(status: int, body: bytes, expected: type[UpstreamError]) -> None:
    error = classify(status, {}, body, provider="openai")
    assert type(error) is expected
    assert error.status == status
    assert error.message.startswith(f"OpenAI API error: {status}")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, said("too long", code="context_length_exceeded")),
        (400, said("This model's maximum context length is 8192 tokens.")),
        (413, said("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error")),
    ],
)
def test_a_request_too_long_for_this_model_may_move_but_not_repeat(status: int, body: bytes) -> None:
    error = classify(status, {}, body, provider="openai")
    assert isinstance(error, UpstreamRejected)
    assert (error.reason, error.movable, error.repeatable) == (CONTEXT_EXCEEDED, True, False)
    assert not UpstreamRejected("other").movable


def test_reasons_tell_quota_and_model_from_a_wrong_key() -> None:
    assert classify(402, {}, b"", provider="openai").reason == QUOTA_EXHAUSTED
    assert classify(404, {}, b"", provider="openai").reason == "model_not_found"
    assert classify(401, {}, b"", provider="openai").reason == UpstreamRefused.reason


def test_the_providers_error_object_is_kept_with_all_its_fields() -> None:
    error = classify(400, {}, said("bad", param="n", innererror={"code": 7}), provider="openai")
    assert error.detail == {"message": "bad", "type": None, "param": "n", "code": None, "innererror": {"code": 7}}


def test_a_providers_error_is_read_and_kept_in_values_that_can_be_written_anywhere() -> None:
    error = classify(
        400, {}, b'{"error": {"message": "bad \\ud83e", "code": 123456789012345678901}}', provider="openai"
    )
    assert error.message == "OpenAI API error: 400 - bad ?"
    assert error.detail == {"message": "bad ?", "code": 123456789012345678901}
    streamed = classify_object({"message": "x", "score": math.nan}, provider="openai")
    assert streamed.detail == {"message": "x", "score": None}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "junk", "retry-after": "9"}, 9.0),
        ({"retry-after": "1e99"}, RETRY_AFTER_S_MAX),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2999 07:28:00 GMT"}, RETRY_AFTER_S_MAX),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "99 Foo 99999 99:99:99"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_bounded_and_junk_is_ignored(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
    assert classify(503, headers, b"", provider="openai").retry_after_s == seconds


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    wait = retry_after_s({"retry-after": format_datetime(at, usegmt=True)})
    assert wait is not None
    assert 90 < wait <= 100


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (said("wrapped"), "wrapped"),
        (b'[{"error": {"message": "in a list"}}]', "in a list"),
        (b'{"error": "a string"}', "a string"),
        (b'{"object": "error", "message": "flat", "code": 400}', "flat"),
        (b'{"message": "flat too"}', "flat too"),
        (b'{"detail": "Not Found"}', "Not Found"),
    ],
)
def test_error_objects_of_other_servers_are_read(body: bytes, message: str) -> None:
    found = error_object(body)
    assert found is not None
    assert found["message"] == message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"3", b"null", b'{"choices": []}', b"[" * 5_000, b"\xff\xfe"])
def test_a_body_without_an_error_object_has_none(body: bytes) -> None:
    assert error_object(body) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "m", "type": "rate_limit_error"}, UpstreamLimited),
        ({"message": "m", "code": 429}, UpstreamLimited),
        ({"message": "m", "code": "429"}, UpstreamLimited),
        ({"message": "m", "type": "insufficient_quota"}, UpstreamRefused),
        ({"message": "m", "type": "overloaded_error"}, UpstreamUnavailable),
        ({"message": "m", "type": "invalid_request_error"}, UpstreamRejected),
        ({"message": "m", "type": "authentication_error"}, UpstreamRefused),
        ({"message": "m", "type": "server_error"}, UpstreamUnavailable),
        ({"message": "m", "code": "9" * 5_000}, UpstreamUnavailable),
        ({"message": {"nested": 1}, "code": [], "type": 3}, UpstreamUnavailable),
        ({}, UpstreamUnavailable),
    ],
)
def test_an_error_object_without_a_status_is_read_by_its_code_and_type(
    error: dict[str, Any], expected: type[UpstreamError]
) -> None:
    assert type(classify_object(error, provider="openai")) is expected


def test_no_key_and_no_query_is_left_in_any_text() -> None:
    body = said(
        "Incorrect API key provided: sk-proj-abcdef123456. See https://u:p@x.test/a?key=hunter2",
        more=["Bearer abc.def", {"deep": "my-own-secret"}],
    )
    error = classify(401, {}, body, provider="openai", secrets=["my-own-secret"])
    everything = f"{error.message} {error.detail}"
    for secret in ("abcdef123456", "hunter2", "abc.def", "my-own-secret", "u:p@"):
        assert secret not in everything
    assert "https://x.test/a" in everything


def test_a_header_of_a_letter_is_no_secret_and_costs_no_error_its_meaning() -> None:
    body = said("This model's maximum context length is 8 tokens.")
    error = classify(400, {}, body, provider="openai", secrets=["e", "8", "sk-canary"])
    assert error.reason == "context_length_exceeded"
    assert error.message == "OpenAI API error: 400 - This model's maximum context length is 8 tokens."


def test_redact_leaves_ordinary_words_alone() -> None:
    text = "The task-based model asked for disk-usage at https://docs.test/errors; sketch it."
    assert redact(text, ["", "absent"]) == text


def test_a_message_is_bounded_and_an_unknown_provider_keeps_its_name() -> None:
    error = classify(500, {}, said("x" * 100_000), provider="acme")
    assert error.message.startswith("acme API error: 500 - xxx")
    assert len(error.message) < MESSAGE_CHARS_MAX + 100


def test_an_error_object_that_nests_without_end_is_cut() -> None:
    nested: dict[str, Any] = {"message": "deep"}
    for _ in range(500):
        nested = {"message": "deep", "inner": nested}
    error = classify(400, {}, json.dumps({"error": nested}).encode(), provider="openai")
    assert error.detail is not None
    assert len(json.dumps(error.detail)) < 1_000
