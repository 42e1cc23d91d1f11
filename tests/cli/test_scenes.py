"""The demo's calls, seen through the SDK: what the headers and the last chunk say, and the words of a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai

from proxy.cli.scenes import Seen, asked_whole, streamed

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}
USAGE = (
    'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],'
    '"orch":{"model":"gpt-4o","energy_charged":10,"energy_remaining":15}}\n\ndata: [DONE]\n\n'
)


@contextmanager
def answering(response: httpx.Response) -> Iterator[openai.OpenAI]:
    """The SDK, with every request answered alike."""
    transport = httpx.MockTransport(lambda request: response)
    with openai.OpenAI(
        base_url="http://proxy/v1", api_key="k", max_retries=0, http_client=httpx.Client(transport=transport)
    ) as client:
        yield client


def test_a_whole_answer_is_seen_through_its_headers() -> None:
    headers = {"x-orch-model": "gpt-4o-mini", "x-orch-energy-charged": "3", "x-orch-energy-remaining": "2"}
    with answering(httpx.Response(200, json=COMPLETION, headers=headers)) as client:
        assert asked_whole(client, "q") == Seen(asked="q", model="gpt-4o-mini", charged=3, left=2)


def test_headers_that_are_missing_are_not_invented() -> None:
    with answering(httpx.Response(200, json=COMPLETION, headers={"x-orch-energy-charged": "ten"})) as client:
        assert asked_whole(client, "q") == Seen(asked="q")


def test_a_refusal_is_seen_in_its_own_words() -> None:
    body = {"error": {"message": "Insufficient energy. Required: 3, Available: 2", "type": "t", "code": "c"}}
    with answering(httpx.Response(429, json=body)) as client:
        seen = asked_whole(client, "q")
        assert streamed(client, "q").refused is not None
    assert seen == Seen(asked="q", refused="Insufficient energy. Required: 3, Available: 2")
    assert str(seen) == "refused: Insufficient energy. Required: 3, Available: 2"


def test_a_stream_is_seen_through_its_last_chunk() -> None:
    response = httpx.Response(200, text=USAGE, headers={"content-type": "text/event-stream"})
    with answering(response) as client:
        assert streamed(client, "q") == Seen(asked="q", model="gpt-4o", charged=10, left=15)
