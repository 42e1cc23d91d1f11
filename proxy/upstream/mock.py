"""Mock: a provider in this process that needs no key and says the same every time; the embedded default and the demo."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.call import Body, Operation
from proxy.dialect.body import dump
from proxy.dialect.request import choices
from proxy.dialect.sse import encode
from proxy.dialect.usage import estimate_input_tokens
from proxy.errors import UpstreamRejected
from proxy.upstream.minimal import minimal
from proxy.upstream.port import Take, UpstreamRequest

ECHO_CHARS_MAX = 80
DIMENSIONS = 1536
DIMENSIONS_MAX = 4096
CHOICES_MAX = 128  # OpenAI's own
CREATED_S = 1_700_000_000  # a clock would make two answers to one question differ


class MockUpstream:
    """Implements the port Upstream."""

    stream_usage = True
    secrets: tuple[str, ...] = ()

    async def send(self, request: UpstreamRequest, take: Take) -> None:
        if request.operation is Operation.EMBEDDINGS:
            return await take(dump(_embeddings(request)))
        said = _said(request)
        if not request.stream:
            return await take(dump(_completion(request, said)))
        for payload in _events(request, said):
            await take(encode(payload))
            await asyncio.sleep(0)  # a stream lets others run between its events, and can be cut there
        return None

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What every choice says: words, or a call of the tool named ``tool`` with the arguments ``words``."""

    words: tuple[str, ...]
    finish_reason: str
    tool: str | None = None


def _said(request: UpstreamRequest) -> _Said:
    tool = _tool_to_call(request.body)
    if tool is not None:
        arguments = dump(minimal(tool.get("parameters", {})) or {}).decode()
        return _Said((arguments,), "tool_calls", str(tool.get("name")))
    format_ = request.body.get("response_format")
    kind = format_.get("type") if isinstance(format_, Mapping) else None
    if kind == "json_schema" and isinstance(format_, Mapping):
        asked = format_.get("json_schema")
        return _Said((_json(minimal(asked.get("schema")) if isinstance(asked, Mapping) else {}),), "stop")
    if kind == "json_object":
        return _Said((_json({"model": request.model, "echo": _asked(request.body)}),), "stop")
    return _text(request)


def _text(request: UpstreamRequest) -> _Said:
    words = tuple(f"This is {request.model}, a mock. You said: {_asked(request.body)}".split(" "))
    cap = request.body.get("max_completion_tokens") or request.body.get("max_tokens")
    if isinstance(cap, int) and 0 < cap < len(words):
        return _Said(words[:cap], "length")
    return _Said(words, "stop")


def _json(value: Any) -> str:
    return dump({"value": value} if not isinstance(value, dict) else value).decode()


def _asked(body: Body) -> str:
    """The last user message, shortened."""
    messages = body.get("messages")
    said = [message for message in messages if isinstance(message, Mapping)] if isinstance(messages, list) else []
    last = next((message for message in reversed(said) if message.get("role") == "user"), {})
    content = last.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        content = " ".join(text for text in texts if isinstance(text, str))
    text = content if isinstance(content, str) else ""
    return text if len(text) <= ECHO_CHARS_MAX else text[:ECHO_CHARS_MAX] + "…"


def _tool_to_call(body: Body) -> Mapping[str, Any] | None:
    """The function that tool_choice asks for; None: it leaves us the choice, and we talk."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    listed = [tool.get("function") for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    functions = [function for function in listed if isinstance(function, Mapping)]
    if not functions or (choice != "required" and not isinstance(choice, Mapping)):
        return None
    asked = choice.get("function") if isinstance(choice, Mapping) else None
    name = asked.get("name") if isinstance(asked, Mapping) else functions[0].get("name")
    return next((function for function in functions if function.get("name") == name), None)


def _frame(request: UpstreamRequest, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(request.call_id.encode()).hexdigest()
    return {"id": f"chatcmpl-{digest[:24]}", "object": kind, "created": CREATED_S, "model": request.model}


def _indices(request: UpstreamRequest) -> range:
    return range(min(choices(request.body), CHOICES_MAX))


def _usage(request: UpstreamRequest, said: _Said) -> dict[str, int]:
    prompt = estimate_input_tokens(request.body)
    completion = len(said.words) * len(_indices(request))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _completion(request: UpstreamRequest, said: _Said) -> dict[str, Any]:
    answers = [
        {"index": index, "message": _message(said, index), "logprobs": None, "finish_reason": said.finish_reason}
        for index in _indices(request)
    ]
    return {**_frame(request, "chat.completion"), "choices": answers, "usage": _usage(request, said)}


def _message(said: _Said, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if said.tool is None:
        return {**message, "content": " ".join(said.words)}
    return {**message, "tool_calls": [_tool_call(said, index)]}


def _tool_call(said: _Said, index: int) -> dict[str, Any]:
    return {"id": f"call_mock_{index}", "type": "function", "function": {"name": said.tool, "arguments": said.words[0]}}


def _events(request: UpstreamRequest, said: _Said) -> Iterator[bytes]:
    frame = _frame(request, "chat.completion.chunk")
    for index in _indices(request):
        for delta in _deltas(said, index):
            yield dump({**frame, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        yield dump({**frame, "choices": [{"index": index, "delta": {}, "finish_reason": said.finish_reason}]})
    options = request.body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        yield dump({**frame, "choices": [], "usage": _usage(request, said)})
    yield b"[DONE]"


def _deltas(said: _Said, index: int) -> Iterator[dict[str, Any]]:
    if said.tool is not None:
        yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_tool_call(said, index)}]}
        return
    yield {"role": "assistant", "content": "", "refusal": None}
    for place, word in enumerate(said.words):
        yield {"content": f" {word}" if place else word}


def _embeddings(request: UpstreamRequest) -> dict[str, Any]:
    dimensions = request.body.get("dimensions") or DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= DIMENSIONS_MAX:
        detail = {
            "message": f"dimensions must be an integer from 1 to {DIMENSIONS_MAX}",
            "type": "invalid_request_error",
            "param": "dimensions",
            "code": None,
        }
        raise UpstreamRejected(f"Mock API error: 400 - {detail['message']}", status=400, detail=dict(detail))
    encoded = request.body.get("encoding_format") == "base64"
    vectors = [_vector(item, dimensions) for item in _inputs(request.body.get("input"))]
    items = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if encoded else vector.tolist()}
        for index, vector in enumerate(vectors)
    ]
    tokens = estimate_input_tokens(request.body)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": items, "model": request.model, "usage": usage}


def _inputs(given: object) -> list[object]:
    """One input or many: a text, tokens, or a list of either."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    return [given]


def _vector(item: object, dimensions: int) -> array[float]:
    """A unit vector of 32-bit floats that depends on the input and nothing else."""
    stretched = hashlib.shake_256(repr(item).encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    raw = [number - 32767.5 for number in struct.unpack(f"<{dimensions}H", stretched)]
    length = sum(number * number for number in raw) ** 0.5
    return array("f", [number / length for number in raw])


def _base64(vector: array[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
