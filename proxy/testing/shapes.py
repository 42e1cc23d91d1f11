"""OpenAI's answers as plain values, for scripts: a completion, the events of a stream, embeddings, usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialect.body import dump
from proxy.dialect.sse import encode

Json = Mapping[str, Any]

USAGE: Json = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}


def completion(
    text: str = "Hello there", *, model: str = "gpt-4o", choices: int = 1, usage: Json | None = USAGE
) -> dict[str, Any]:
    """A whole chat completion; ``usage`` None: the provider sends none."""
    body: dict[str, Any] = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
            for index in range(choices)
        ],
    }
    return body if usage is None else {**body, "usage": dict(usage)}


def stream_event(choices: list[Json], *, model: str = "gpt-4o", usage: Json | None = None) -> dict[str, Any]:
    """One event of a chat stream."""
    event: dict[str, Any] = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": model,
        "choices": choices,
    }
    return event if usage is None else {**event, "usage": dict(usage)}


def role(*, index: int = 0, model: str = "gpt-4o") -> dict[str, Any]:
    """The first event of a choice: who speaks, and no content yet."""
    delta = {"role": "assistant", "content": ""}
    return stream_event([{"index": index, "delta": delta, "finish_reason": None}], model=model)


def delta(text: str, *, index: int = 0, model: str = "gpt-4o") -> dict[str, Any]:
    """A piece of text."""
    return stream_event([{"index": index, "delta": {"content": text}, "finish_reason": None}], model=model)


def finish(reason: str = "stop", *, index: int = 0, model: str = "gpt-4o") -> dict[str, Any]:
    """The last event of a choice."""
    return stream_event([{"index": index, "delta": {}, "finish_reason": reason}], model=model)


def usage_event(usage: Json = USAGE, *, model: str = "gpt-4o") -> dict[str, Any]:
    """The event that ``stream_options.include_usage`` asks for: no choices, and the usage."""
    return stream_event([], model=model, usage=usage)


def wire(payload: Json) -> bytes:
    """The payload as one SSE event."""
    return encode(dump(payload))


def default_stream(request: Json) -> list[dict[str, Any]]:
    """The events of a plain streamed answer to ``request``, with usage where it was asked for."""
    model = str(request.get("model", "?"))
    events: list[dict[str, Any]] = []
    for index in range(request.get("n") or 1):
        events.append(role(index=index, model=model))
        events += [delta(word, index=index, model=model) for word in ("Hello", " there")]
        events.append(finish(index=index, model=model))
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append(usage_event(model=model))
    return events


def embeddings(request: Json) -> dict[str, Any]:
    """Three numbers for each input."""
    given = request.get("input", "")
    count = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
    vectors = [{"object": "embedding", "index": index, "embedding": [0.1, 0.2, 0.3]} for index in range(count)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": vectors, "model": request.get("model", "?"), "usage": usage}
