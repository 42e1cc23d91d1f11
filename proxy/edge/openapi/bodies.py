"""What calls take and give: as much of OpenAI's shapes as ``dialect/request.py`` insists on. What is not named goes on as it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from proxy.dialect.request import NAME_CHARS_MAX

Schema = Mapping[str, Any]


def _or_null(kind: str, **more: Any) -> dict[str, Any]:
    """Null is as good as leaving a field out."""
    return {"type": [kind, "null"], **more}


_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX}
_METADATA = _or_null(
    "object",
    description="Strings. The fields named here are ours: they are taken out before the request goes on.",
    properties={
        "action": _or_null("string", maxLength=NAME_CHARS_MAX, description="What the call is for; it makes the price."),
        "workspace_id": _or_null("string", maxLength=NAME_CHARS_MAX),
        "prospect_id": _or_null("string", maxLength=NAME_CHARS_MAX),
        "auto_select_model": {"enum": [True, False, "true", "false", None], "description": "false: no downgrade."},
    },
    additionalProperties={"type": "string"},
)
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["developer", "system", "user", "assistant", "tool", "function"]},
        "content": {
            "type": ["string", "array", "null"],
            "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
        },
    },
}

CHAT: Schema = MappingProxyType(
    {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": _NAME,
            "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
            "stream": _or_null("boolean"),
            "stream_options": _or_null("object", description="Only with stream."),
            "n": _or_null("integer", minimum=1),
            "max_tokens": _or_null("integer", minimum=1),
            "max_completion_tokens": _or_null("integer", minimum=1),
            "temperature": _or_null("number"),
            "top_p": _or_null("number"),
            "tools": _or_null("array"),
            "stop": {"type": ["string", "array", "null"], "items": {"type": "string"}},
            "user": _or_null("string", maxLength=NAME_CHARS_MAX, description="With a service key: who pays."),
            "metadata": _METADATA,
        },
    }
)

EMBEDDINGS: Schema = MappingProxyType(
    {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": _NAME,
            "input": {
                "type": ["string", "array"],
                "minLength": 1,
                "minItems": 1,
                "items": {"type": ["string", "integer", "array"], "minItems": 1, "items": {"type": "integer"}},
                "description": "A text, texts, tokens, or lists of tokens.",
            },
            "user": _or_null("string", maxLength=NAME_CHARS_MAX, description="With a service key: who pays."),
            "metadata": _METADATA,
        },
    }
)

ANSWER: Schema = MappingProxyType({"type": "object", "description": "As OpenAI documents it, as the provider sent it."})
EVENTS: Schema = MappingProxyType(
    {"type": "string", "description": "Server-sent events with chunks as OpenAI documents them, up to data: [DONE]."}
)
