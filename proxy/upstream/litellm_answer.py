"""LiteLLM's answers as OpenAI's JSON: read attribute by attribute, so that only what OpenAI's shapes have comes out.

LiteLLM's own dumps carry nulls, invented costs and guessed token details, and warn while they are made.
"""

from __future__ import annotations

import struct
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.dialect.body import dump
from proxy.dialect.sse import encode

DONE = encode(b"[DONE]")

# Beside OpenAI's keys, those that a client must send back for a reasoning model to go on with its tools.
MESSAGE_KEYS = (
    "content",
    "refusal",
    "reasoning_content",
    "thinking_blocks",
    "function_call",
    "audio",
    "annotations",
    "images",
)
CREATED_MIN = 1_500_000_000  # what a provider or LiteLLM calls "created" before 2017 is not a Unix time in seconds


def completion_json(answer: Any, model: str) -> bytes:
    """A whole ``chat.completion``. Without ``usage`` where the provider sent none."""
    body: dict[str, Any] = {
        **_envelope(answer, "chat.completion", model),
        "choices": [_choice(choice) for choice in answer.choices],
    }
    usage = usage_of(answer)
    return dump(body | {"usage": usage} if usage else body)


def embeddings_json(answer: Any, model: str, *, encoding_format: object) -> bytes:
    """A whole list of embeddings; ``base64``: little-endian float32, as OpenAI sends them."""
    vectors = [
        {"object": "embedding", "index": index, "embedding": _vector(_get(item, "embedding"), encoding_format)}
        for index, item in enumerate(answer.data or ())
    ]
    body: dict[str, Any] = {"object": "list", "data": vectors, "model": model}
    usage = usage_of(answer)
    if usage:
        body["usage"] = {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["total_tokens"]}
    return dump(body)


class Events:
    """The events of one stream: the same id, time and model from the first to the last."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._envelope: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}

    def of(self, chunk: Any) -> bytes | None:
        """The event of a chunk; None: there is nothing in it for a client."""
        if not self._envelope:
            self._envelope = _envelope(chunk, "chat.completion.chunk", self._model)
        choices = [_delta_choice(choice) for choice in chunk.choices or ()]
        if not any(choice["delta"] or choice["finish_reason"] for choice in choices):
            return None
        return encode(dump({**self._envelope, "choices": choices}))

    def count(self, chunks: Iterable[Any]) -> None:
        """Take the usage out of chunks as the provider sent them: counts that come in parts are put together."""
        self._counts |= _counts(chunks)

    def usage(self) -> bytes | None:
        """The usage event; None: the provider sent no usage, and nobody invents one."""
        if not self._counts:
            return None
        return encode(dump({**self._envelope, "choices": [], "usage": _summed(self._counts)}))


def usage_of(answer: Any) -> dict[str, Any]:
    """Prompt, completion, total and cached tokens; empty where there are none."""
    counts = _counts([answer])
    return _summed(counts) if counts else {}


def _counts(answers: Iterable[Any]) -> dict[str, Any]:
    """The counts that the answers have, later ones instead of earlier ones."""
    counts: dict[str, Any] = {}
    for answer in answers:
        usage = getattr(answer, "usage", None)
        for name in ("prompt_tokens", "completion_tokens"):
            counts |= _positive(name, _get(usage, name))
        if cached := _positive("cached_tokens", _get(_get(usage, "prompt_tokens_details"), "cached_tokens")):
            counts["prompt_tokens_details"] = cached
    return counts


def _summed(counts: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
    return {**counts, "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _positive(name: str, value: object) -> dict[str, int]:
    return {name: value} if isinstance(value, int) and not isinstance(value, bool) and value > 0 else {}


def _envelope(answer: Any, kind: str, model: str) -> dict[str, Any]:
    created = getattr(answer, "created", None)
    plausible = isinstance(created, int) and created >= CREATED_MIN
    envelope = {
        "id": str(getattr(answer, "id", "") or ""),
        "object": kind,
        "created": created if plausible else int(time.time()),
        "model": model,
    }
    told = {name: getattr(answer, name, None) for name in ("system_fingerprint", "service_tier")}
    return envelope | {name: value for name, value in told.items() if isinstance(value, str)}


def _choice(choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": _get(choice.message, "content"), **_parts(choice.message)}
    if calls := _tool_calls(choice.message):
        message["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
    return _with_logprobs(choice, {"index": choice.index, "message": message})


def _delta_choice(choice: Any) -> dict[str, Any]:
    delta = choice.delta
    parts = _parts(delta)
    if role := _get(delta, "role"):
        parts = {"role": role, **parts}
    if calls := _tool_calls(delta):
        parts["tool_calls"] = [{"index": _index(call, place), **call} for place, call in enumerate(calls)]
    return _with_logprobs(choice, {"index": choice.index, "delta": parts})


def _index(call: Mapping[str, Any], place: int) -> int:
    index = call.get("index")
    return index if isinstance(index, int) else place


def _with_logprobs(choice: Any, made: dict[str, Any]) -> dict[str, Any]:
    reason = choice.finish_reason
    made["finish_reason"] = reason if isinstance(reason, str) and reason else None
    logprobs = _get(choice, "logprobs")
    return made if logprobs is None else made | {"logprobs": _plain(logprobs)}


def _parts(message: Any) -> dict[str, Any]:
    found = {name: _get(message, name) for name in MESSAGE_KEYS}
    return {name: _plain(value) for name, value in found.items() if value}


def _tool_calls(message: Any) -> list[dict[str, Any]]:
    return [_tool_call(call) for call in _get(message, "tool_calls") or ()]


def _tool_call(call: Any) -> dict[str, Any]:
    """Without nulls; ``type`` only beside the id, as OpenAI streams it; a provider's signature stays, it must come back."""
    made = {name: value for name, value in _plain(call).items() if value is not None and value != {}}
    made["function"] = {name: value for name, value in made.get("function", {}).items() if value is not None}
    if "id" not in made:
        made.pop("type", None)
    return made


def _vector(embedding: Any, encoding_format: object) -> Any:
    if encoding_format != "base64" or not isinstance(embedding, list):
        return embedding
    return b64encode(struct.pack(f"<{len(embedding)}f", *embedding)).decode()


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)


def _plain(value: Any) -> Any:
    """Pydantic models and what is in them as plain values; iterating a model gives its fields and its extra ones."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "model_fields_set"):
        return {name: _plain(inner) for name, inner in value}
    return value
