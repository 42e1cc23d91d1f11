"""A loopback server that speaks Gemini's generateContent, streamGenerateContent and batchEmbedContents.

Shapes from https://ai.google.dev/api/generate-content and …/api/embeddings.
"""

from __future__ import annotations

from typing import Any

from proxy.testing import Exchange, Received, Script, ScriptedUpstream, Step, answer, end, event, head

Json = dict[str, Any]

KEY = "AIzaSyCanary0123456789abcdefghijklmnop"
MODEL = "gemini-2.5-flash"
INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 21, 4, 9
USAGE = {
    "promptTokenCount": INPUT_TOKENS,
    "cachedContentTokenCount": CACHED_TOKENS,
    "candidatesTokenCount": OUTPUT_TOKENS,
    "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
}
VECTOR = [0.25, -0.5, 0.125]


def text_part(text: str) -> Json:
    return {"text": text}


def call_part(arguments: Json, *, name: str = "weather") -> Json:
    return {"functionCall": {"name": name, "args": arguments}}


def content(*parts: Json, finish: str | None = "STOP", usage: Json | None = USAGE) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    made: Json = {"candidates": [candidate], "modelVersion": MODEL, "responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}
    return made | ({"usageMetadata": usage} if usage is not None else {})


def error(status: int, name: str, text: str, *, headers: dict[str, str] | None = None) -> Script:
    return answer({"error": {"code": status, "message": text, "status": name}}, status=status, headers=headers)


def stream(*chunks: Json) -> list[Step]:
    return [head(), *map(event, chunks), end()]


class FakeGemini(ScriptedUpstream):
    """Answers "Hello" unless a script says otherwise; refuses what Gemini refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.always([_as_gemini])


async def _as_gemini(exchange: Exchange) -> None:
    for step in _script(exchange.request):
        await step(exchange)


def _script(request: Received) -> Script:
    path, _, query = request.path.partition("?")
    model, _, method = path.removeprefix("/v1/models/").partition(":")
    if request.headers.get("x-goog-api-key") != KEY:
        return error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
    if method == "generateContent":
        return answer(content(text_part("Hello")))
    if method == "streamGenerateContent" and "alt=sse" in query:
        return stream(content(text_part("Hel"), finish=None, usage=None), content(text_part("lo")))
    if method == "batchEmbedContents":
        return answer({"embeddings": [{"values": VECTOR} for _ in request.body["requests"]]})
    return error(404, "NOT_FOUND", f"{model} has no method {method!r}")
