"""The shapes the fakes answer with are the ones the OpenAI SDK knows."""

from __future__ import annotations

from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.testing import completion, default_stream, embeddings


def test_a_whole_answer_is_a_chat_completion() -> None:
    answer = ChatCompletion.model_validate(completion("Hi", choices=2), strict=True)

    assert [choice.message.content for choice in answer.choices] == ["Hi", "Hi"]


def test_a_streams_events_are_chunks_that_end_with_the_usage_that_was_asked_for() -> None:
    events = default_stream({"model": "m", "stream_options": {"include_usage": True}})
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello there"
    assert (chunks[-1].choices, chunks[-1].usage is None) == ([], False)


def test_embeddings_come_one_for_each_input() -> None:
    answer = CreateEmbeddingResponse.model_validate(embeddings({"model": "e", "input": ["a", "b"]}), strict=True)

    assert [one.index for one in answer.data] == [0, 1]
