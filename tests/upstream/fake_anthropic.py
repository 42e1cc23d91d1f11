"""A loopback server that speaks Anthropic's Messages API: what it asks of a request, and the events it streams.

Shapes from https://docs.anthropic.com/en/api/messages and …/messages-streaming.
"""

from __future__ import annotations

import json
from typing import Any

from proxy.testing import Exchange, Script, ScriptedUpstream, Step, answer, chunk, end, head

Json = dict[str, Any]

KEY = "sk-ant-api03-canary-0123456789"
MODEL = "claude-sonnet-4-5"
INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 25, 5, 15
USAGE_START = {
    "input_tokens": INPUT_TOKENS,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": CACHED_TOKENS,
    "output_tokens": 1,
}
USAGE = {**USAGE_START, "output_tokens": OUTPUT_TOKENS}


def text_block(text: str) -> Json:
    return {"type": "text", "text": text}


def tool_block(arguments: Json, *, name: str = "weather", id: str = "toolu_01A") -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def message(*blocks: Json, stop_reason: str = "end_turn", usage: Json = USAGE) -> Json:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(blocks),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def error(status: int, kind: str, text: str, *, headers: dict[str, str] | None = None) -> Script:
    return answer({"type": "error", "error": {"type": kind, "message": text}}, status=status, headers=headers)


def event(payload: Json) -> Step:
    """One event in an HTTP chunk of its own, named as Anthropic names it: by the payload's type."""
    return chunk(f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n".encode())


def start() -> list[Step]:
    opening = {**message(stop_reason="", usage=USAGE_START), "stop_reason": None}
    return [head(), event({"type": "message_start", "message": opening})]


def text(*pieces: str, index: int = 0) -> list[Step]:
    opening = {"type": "content_block_start", "index": index, "content_block": text_block("")}
    deltas = [delta({"type": "text_delta", "text": piece}, index=index) for piece in pieces]
    return [event(opening), event({"type": "ping"}), *deltas, event({"type": "content_block_stop", "index": index})]


def thinking(*pieces: str, index: int = 0) -> list[Step]:
    opening = {"type": "content_block_start", "index": index, "content_block": {"type": "thinking", "thinking": ""}}
    deltas = [delta({"type": "thinking_delta", "thinking": piece}, index=index) for piece in pieces]
    signature = delta({"type": "signature_delta", "signature": "EqQBCg"}, index=index)
    return [event(opening), *deltas, signature, event({"type": "content_block_stop", "index": index})]


def tool(*pieces: str, index: int = 1, name: str = "weather", id: str = "toolu_01A") -> list[Step]:
    opening = {"type": "content_block_start", "index": index, "content_block": tool_block({}, name=name, id=id)}
    deltas = [delta({"type": "input_json_delta", "partial_json": piece}, index=index) for piece in pieces]
    return [event(opening), *deltas, event({"type": "content_block_stop", "index": index})]


def delta(change: Json, *, index: int = 0) -> Step:
    return event({"type": "content_block_delta", "index": index, "delta": change})


def stop(reason: str = "end_turn") -> list[Step]:
    change = {"stop_reason": reason, "stop_sequence": None}
    closing = {"type": "message_delta", "delta": change, "usage": {"output_tokens": OUTPUT_TOKENS}}
    return [event(closing), event({"type": "message_stop"}), end()]


def in_stream_error(kind: str, text: str) -> list[Step]:
    return [event({"type": "error", "error": {"type": kind, "message": text}}), end()]


class FakeAnthropic(ScriptedUpstream):
    """Answers "Hello" unless a script says otherwise; refuses what Anthropic refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.always([_as_anthropic])


async def _as_anthropic(exchange: Exchange) -> None:
    request = exchange.request
    for step in _refusal(request.path, request.headers, request.body) or _hello(request.body):
        await step(exchange)


def _refusal(path: str, headers: Any, body: Json) -> Script | None:
    if path != "/v1/messages":
        return error(404, "not_found_error", f"no such path: {path}")
    if headers.get("x-api-key") != KEY or "anthropic-version" not in headers:
        return error(401, "authentication_error", "invalid x-api-key")
    if not isinstance(body.get("max_tokens"), int):
        return error(400, "invalid_request_error", "max_tokens: Field required")
    return None


def _hello(body: Json) -> Script:
    if body.get("stream"):
        return [*start(), *text("Hel", "lo"), *stop()]
    return answer(message(text_block("Hello")))
