"""Answers: follows a stream event by event, reads a whole answer, and writes the usage event that ends a stream."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.call import Operation, Part, Usage
from proxy.dialect import sse
from proxy.dialect.body import NotJson, decode, dump
from proxy.dialect.usage import parse_usage, text_chars

REASON_CHARS_MAX = 64  # of a finish_reason as it is recorded; the longest word in use has 17

_DONE = b"[DONE]"
# A quote inside a JSON string is escaped, so this is never a text that speaks of a finish_reason.
_EMPTY_REASON = re.compile(rb'("finish_reason"[ \t]*:[ \t]*)""')


class NotAnAnswer(ValueError):
    """The upstream sent something else; ``error`` is the OpenAI-shaped error object where that is what it sent."""

    def __init__(self, message: str, *, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a whole answer says of itself; ``output_chars`` is for estimating tokens that were not counted."""

    usage: Usage | None
    finish_reasons: tuple[str, ...]
    output_chars: int


class Progress:
    """How far a streamed chat answer of ``choices`` choices has come; one per attempt.

    ``usage`` is the last one sent, ``error`` a top-level error object (the event that carries it has no content),
    ``output_chars`` the characters of text, tool calls and reasoning so far.
    """

    __slots__ = ("_choices", "_done", "_reasons", "error", "output_chars", "usage")

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._reasons: dict[int, str] = {}
        self._done = False
        self.usage: Usage | None = None
        self.error: dict[str, Any] | None = None
        self.output_chars = 0

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """In the order of the choices."""
        return tuple(self._reasons[index] for index in sorted(self._reasons))

    @property
    def complete(self) -> bool:
        """A finish_reason for every choice, or [DONE]: an end without either is a cut stream."""
        return self._done or len(self._reasons) >= self._choices

    def feed(self, payload: bytes) -> Part:
        """What the event with this payload means. Raises NotAnAnswer for anything but a chat completion's event."""
        if payload.strip() == _DONE:
            self._done = True
            return Part.DONE
        chunk = _object(payload)
        usage = chunk.get("usage")
        if usage is not None:
            self.usage = parse_usage(usage) or self.usage
        error = _error(chunk)
        if error is not None:
            self.error = error
            return Part.PRELUDE
        choices = _list(chunk, "choices")
        if not choices:
            return Part.USAGE if isinstance(usage, dict) else Part.PRELUDE
        has_content = [self._take(choice) for choice in choices]
        return Part.CONTENT if any(has_content) else Part.PRELUDE

    def _take(self, choice: object) -> bool:
        """True if this choice's delta has content, or ends the choice: an empty answer is an answer."""
        if not isinstance(choice, dict):
            raise NotAnAnswer("a choice in the upstream's stream is not an object")
        content = False
        reason = _reason(choice)
        if reason is not None:
            self._reasons[self._index(choice)] = reason
            content = True
        delta = choice.get("delta")
        if delta is None:
            return content
        if not isinstance(delta, dict):
            raise NotAnAnswer("a delta in the upstream's stream is not an object")
        for key, value in delta.items():
            if value and key != "role":  # unknown keys are content: some model's new way to speak
                content = True
                self.output_chars += len(value) if isinstance(value, str) else text_chars({key: value})
        return content

    def _index(self, choice: dict[str, Any]) -> int:
        index = choice.get("index")  # some servers leave it out; they have one choice only
        return index if type(index) is int and 0 <= index < self._choices else 0


def read_answer(raw: bytes, operation: Operation) -> Answer:
    """A whole answer's body. Raises NotAnAnswer unless it is an object with choices (chat) or data (embeddings)."""
    body = _object(raw)
    error = _error(body)
    if error is not None:
        raise NotAnAnswer("the upstream answered with an error object", error=error)
    usage = parse_usage(body.get("usage"))
    key = "choices" if operation is Operation.CHAT else "data"
    members = _list(body, key)
    if not members or not all(isinstance(member, dict) for member in members):
        raise NotAnAnswer(f"the upstream's answer has no {key}")
    if operation is not Operation.CHAT:
        return Answer(usage=usage, finish_reasons=(), output_chars=0)
    return Answer(
        usage=usage,
        finish_reasons=tuple(reason for choice in members if (reason := _reason(choice)) is not None),
        output_chars=sum(text_chars(choice.get("message")) for choice in members),
    )


def without_empty_reasons(event: bytes) -> bytes:
    """The event with ``finish_reason: ""`` as null, which is what it means: clients take any string for the end."""
    return _EMPTY_REASON.sub(rb"\1null", event) if b'"finish_reason"' in event else event


def usage_event(original: bytes | None, usage: Usage, extra: Mapping[str, Any], *, call_id: str, model: str) -> bytes:
    """The event that ends a stream with its usage and our ``extra`` under ``orch``.

    ``original`` is the upstream's usage event as received: everything in it is kept. None, or nothing that can be read:
    a chunk of our own with empty choices; ``created`` is then the time in ``call_id`` (a UUIDv7, RFC 9562 §5.7), else 0.
    """
    chunk = _chunk_of(original) if original is not None else None
    if chunk is None:
        chunk = {
            "id": call_id,
            "object": "chat.completion.chunk",
            "created": _created_s(call_id),
            "model": model,
            "choices": [],
            "usage": _usage_object(usage),
        }
    return sse.encode(dump({**chunk, "orch": dict(extra)}))


def _chunk_of(event: bytes) -> dict[str, Any] | None:
    payload = sse.payload(event)
    try:
        chunk = decode(payload if payload is not None else event)
    except NotJson:
        return None
    return chunk if isinstance(chunk, dict) else None


def _usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }


def _created_s(call_id: str) -> int:
    try:
        call = uuid.UUID(call_id)
    except ValueError:
        return 0
    return (call.int >> 80) // 1000 if call.version == 7 else 0


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = _read_leniently(raw)
    if not isinstance(value, dict):
        raise NotAnAnswer("the upstream sent JSON that is not an object")
    return value


def _read_leniently(raw: bytes) -> Any:
    """What SDKs read and orjson refuses: half an emoji (escaped, or as bytes) where a tokenizer cut it; NaN; a BOM.

    The client gets the bytes as they came, so all that counts here is what we look at.
    """
    try:
        return json.loads(raw.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        raise NotAnAnswer(f"the upstream sent something that is not JSON: {error}") from error


def _reason(choice: dict[str, Any]) -> str | None:
    """The finish_reason of a choice that has ended, in a form that every store takes."""
    reason = choice.get("finish_reason")
    if not reason or not isinstance(reason, str):
        return None
    return reason[:REASON_CHARS_MAX].encode(errors="replace").decode()


def _error(body: dict[str, Any]) -> dict[str, Any] | None:
    """The error object that stands in place of an answer. SDKs take any truthy ``error`` for one, so do we."""
    error = body.get("error")
    if not error:
        return body if body.get("object") == "error" else None  # vLLM's older shape
    if isinstance(error, dict):
        return error
    return {"message": error if isinstance(error, str) else "the upstream sent an error without a message"}


def _list(body: dict[str, Any], key: str) -> list[Any]:
    members = body.get(key)
    if members is None:
        return []
    if not isinstance(members, list):
        raise NotAnAnswer(f"the upstream's {key} is not a list")
    return members
