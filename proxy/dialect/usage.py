"""Usage: the token counts that a provider sent, read with distrust, and estimates where it sent none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.call import Usage
from proxy.dialect.body import dump

TOKENS_MAX = 10**9  # no call has more; at the dearest price an operator can write, its cost still fits into 64 bits
CHARS_PER_TOKEN = 4  # OpenAI's rule of thumb for English
MESSAGE_TOKENS = 4  # what a message's frame (role, separators) costs in OpenAI's chat format

# Names and media, not text that a model reads or writes as tokens: base64 would count a picture as a book.
_NOT_TEXT = frozenset(
    {"role", "type", "id", "tool_call_id", "format", "detail", "url", "data", "file_data", "file_id", "signature"}
    | {"encrypted_content"}
)


def parse_usage(value: object) -> Usage | None:
    """The ``usage`` object of an answer, OpenAI's or Anthropic's names; None when it gives no input count.

    A count that is not an integer from 0 to TOKENS_MAX is treated as absent. Output tokens that were not sent are total less
    input, or 0 (embeddings have none).
    """
    if not isinstance(value, Mapping):
        return None
    total = _count(value, "total_tokens")
    output = _first(value, "completion_tokens", "output_tokens")
    cached = _cached(value)
    sent = _input(value)
    if sent is None and total is not None:
        sent = max(0, total - (output or 0))
    if sent is None:
        return None
    if output is None:
        output = max(0, total - sent) if total is not None else 0
    return Usage(input_tokens=sent, output_tokens=output, cached_input_tokens=min(cached, sent))


def estimate_tokens(chars: int) -> int:
    """Tokens of a text of ``chars`` characters, rounded up."""
    return -(-chars // CHARS_PER_TOKEN)


def estimate_input_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a request's text: messages, tools and answer format, or an embeddings input. Media count nothing."""
    tokens = _input_tokens(body.get("input"))
    messages = body.get("messages")
    if isinstance(messages, list):
        tokens += MESSAGE_TOKENS * len(messages) + estimate_tokens(text_chars(messages))
    schemas = {key: body[key] for key in ("tools", "functions", "response_format") if body.get(key)}
    if schemas:
        tokens += estimate_tokens(len(dump(schemas)))  # keys and punctuation of a schema are read by the model too
    return tokens


def text_chars(value: object) -> int:
    """Characters of text anywhere inside a message, a delta or a part of one; media and names left out."""
    chars = 0
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            chars += len(node)
        elif isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(member for key, member in node.items() if key not in _NOT_TEXT)
    return chars


def _input(value: Mapping[Any, Any]) -> int | None:
    prompt = _count(value, "prompt_tokens")
    if prompt is not None:
        return prompt
    fresh = _count(value, "input_tokens")
    if fresh is None:
        return None
    # Anthropic counts what it read from and wrote to its cache beside the input, OpenAI inside it.
    beside = (_count(value, "cache_read_input_tokens"), _count(value, "cache_creation_input_tokens"))
    return fresh + sum(count or 0 for count in beside)


def _cached(value: Mapping[Any, Any]) -> int:
    for key in ("prompt_tokens_details", "input_tokens_details"):
        details = value.get(key)
        count = _count(details, "cached_tokens") if isinstance(details, Mapping) else None
        if count is not None:
            return count
    return _first(value, "cache_read_input_tokens", "prompt_cache_hit_tokens") or 0


def _first(value: Mapping[Any, Any], *keys: str) -> int | None:
    return next((count for key in keys if (count := _count(value, key)) is not None), None)


def _count(value: Mapping[Any, Any], key: str) -> int | None:
    count = value.get(key)
    return count if type(count) is int and 0 <= count <= TOKENS_MAX else None  # type(): True is an int too


def _input_tokens(value: object) -> int:
    """Of an embeddings ``input``: text, texts, tokens, or lists of tokens."""
    if isinstance(value, str):
        return estimate_tokens(len(value))
    if not isinstance(value, list):
        return 0
    if set(map(type, value)) == {int}:
        return len(value)
    return sum(map(_item_tokens, value))


def _item_tokens(item: object) -> int:
    if isinstance(item, str):
        return estimate_tokens(len(item))
    return len(item) if isinstance(item, list) else 1
