"""Needs: what a request asks of the model that answers it, so that a model known to lack it is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.call import Body, Needs, Operation
from proxy.dialect.usage import estimate_input_tokens


def needs(body: Body, operation: Operation) -> Needs:
    """Of a checked body; odd shapes need nothing, the provider will say what is wrong with them."""
    tokens = estimate_input_tokens(body)
    if operation is Operation.EMBEDDINGS:
        return Needs(input_tokens=tokens)
    parts = {part.get("type") for part in _parts(body.get("messages")) if isinstance(part.get("type"), str)}
    modalities = body.get("modalities")
    response_format = body.get("response_format")
    return Needs(
        vision="image_url" in parts,
        audio="input_audio" in parts or (isinstance(modalities, list) and "audio" in modalities),
        tools=bool(body.get("tools") or body.get("functions")),
        schema=isinstance(response_format, dict) and response_format.get("type") == "json_schema",
        input_tokens=tokens,
    )


def _parts(messages: object) -> Iterator[dict[str, Any]]:
    for message in _objects(messages):
        yield from _objects(message.get("content"))


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
