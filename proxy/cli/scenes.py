"""The calls of the demo, made with the OpenAI SDK, and what was seen of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionUserMessageParam

MODEL = "gpt-4o"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one call came to: the model that answered, points charged and left; or the words of the refusal."""

    asked: str
    model: str | None = None
    charged: int | None = None
    left: int | None = None
    refused: str | None = None

    def __str__(self) -> str:
        if self.refused is not None:
            return f"refused: {self.refused}"
        return f"answered by {self.model}, energy charged {self.charged}, left {self.left}"


def asked_whole(client: openai.OpenAI, question: str) -> Seen:
    """One question answered whole; the energy is in the headers."""
    try:
        answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=_messages(question))
    except openai.APIStatusError as error:
        return Seen(asked=question, refused=_words(error))
    headers = answer.headers
    return Seen(
        asked=question,
        model=headers.get("x-orch-model"),
        charged=_points(headers.get("x-orch-energy-charged")),
        left=_points(headers.get("x-orch-energy-remaining")),
    )


def streamed(client: openai.OpenAI, question: str) -> Seen:
    """One question answered as a stream; the energy is in its last chunk, beside the usage."""
    told: Mapping[str, Any] = {}
    try:
        stream = client.chat.completions.create(
            model=MODEL, messages=_messages(question), stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            told = (chunk.model_extra or {}).get("orch", told)
    except openai.APIError as error:
        return Seen(asked=question, refused=error.message)
    return Seen(
        asked=question, model=told.get("model"), charged=told.get("energy_charged"), left=told.get("energy_remaining")
    )


def _messages(question: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": question}]


def _points(header: str | None) -> int | None:
    return int(header) if header is not None and header.isascii() and header.isdigit() else None


def _words(error: openai.APIStatusError) -> str:
    """The ``message`` of an OpenAI-shaped error body."""
    return str(error.body["message"]) if isinstance(error.body, dict) and "message" in error.body else error.message
