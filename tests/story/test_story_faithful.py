"""Faithfulness: recorded answers of many servers reach a client through the proxy as they do directly, byte for byte.

The recordings are whole bodies, one file each, served in hostile TCP and HTTP pieces. ``documented`` is the complete list of
what the proxy changes in a stream; of a whole answer it changes no byte.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from proxy.testing import (
    ScriptedUpstream,
    Step,
    answer,
    chunk,
    completion,
    delta,
    done,
    end,
    event,
    finish,
    head,
    role,
    tell,
    usage_event,
    wait_for,
)
from proxy.testing.running import RunningProxy
from tests.story.recordings import (
    ALL,
    BYTES,
    DONE,
    RAGGED,
    documented,
    events_of,
    exactly,
    in_pieces,
    payload_of,
    recorded,
)

STREAMS = recorded("stream/*.sse")
WHOLES = recorded("whole/*.json")
REQUESTS = recorded("request/*.json")
WHOLE_TEXT = recorded("whole/openai_text.json")[0]
ERRORS = recorded("error/*.json")

HELLO: Any = [{"role": "user", "content": "hello"}]
CHAT: Any = {"model": "gpt-4o", "messages": HELLO}
EMBED: Any = {"model": "text-embedding-3-small", "input": ["a", "b"]}
ASKED: Any = {"stream": True, "stream_options": {"include_usage": True}}
WAIT_S = 30
MEGABYTE = 2**20

# Directly, the Python SDK fails on bytes that are not UTF-8 and on events without data that have an id or a retry. It loses a last
# event that lacks its blank line, and takes an empty finish_reason for one: through the proxy it does neither.
SDK_CANNOT_READ = ("character_cut_between_events", "crlf_comments")
SDK_READS_BETTER_THROUGH_THE_PROXY = ("no_last_blank_line", "empty_finish_reasons")

by_name = pytest.mark.parametrize("recording", STREAMS, ids=lambda path: path.stem)


async def post(base_url: str, key: str, asked: dict[str, Any] | bytes) -> bytes:
    """The body of the answer, which must be a 200."""
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    path = "embeddings" if b'"input"' in content else "chat/completions"
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        answered = await client.post(f"{base_url}/{path}", content=content, headers=headers)
    assert answered.status_code == 200, answered.text
    return answered.content


def choices_of(recording: Path) -> dict[str, Any]:
    return {"n": 2} if "two_choices" in recording.stem else {}


@by_name
async def test_a_recorded_stream_arrives_byte_for_byte(
    proxy: RunningProxy, upstream: ScriptedUpstream, recording: Path
) -> None:
    body, key = recording.read_bytes(), await proxy.user_key("ana", energy=100)
    asked = {**CHAT, **choices_of(recording), "stream": True}
    upstream.will(*(in_pieces(body, sizes) for sizes in (ALL, ALL, BYTES, RAGGED)))

    direct = await post(upstream.base_url, "any", asked)
    assert direct == body
    kept, _ = documented(direct)
    for pieces in ("in one piece", "byte by byte", "in ragged pieces"):
        assert await post(proxy.base_url, key, asked) == kept + DONE, pieces


@by_name
async def test_a_recorded_stream_that_was_asked_for_usage_ends_with_it(
    proxy: RunningProxy, upstream: ScriptedUpstream, recording: Path
) -> None:
    body, key = recording.read_bytes(), await proxy.user_key("ana", energy=100)
    asked = {**CHAT, **choices_of(recording), **ASKED}
    upstream.will(in_pieces(body, ALL), in_pieces(body, RAGGED))

    kept, usage = documented(await post(upstream.base_url, "any", asked))
    got = await post(proxy.base_url, key, asked)

    assert got.startswith(kept)
    [tail, last] = events_of(got[len(kept) :])
    assert last == DONE
    ours = json.loads(payload_of(tail) or b"")
    assert ours.pop("orch")["energy_charged"] == 10
    if usage is not None:
        assert exactly(ours) == exactly(usage)
    else:
        assert ours["choices"] == []
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} < set(ours["usage"])


@pytest.mark.parametrize("recording", WHOLES, ids=lambda path: path.stem)
async def test_a_recorded_answer_arrives_byte_for_byte(
    proxy: RunningProxy, upstream: ScriptedUpstream, recording: Path
) -> None:
    body, key = recording.read_bytes(), await proxy.user_key("ana", energy=100)
    asked = EMBED if recording.stem.startswith("embeddings") else CHAT
    chunked = [in_pieces(body, sizes, kind="application/json; charset=utf-8") for sizes in (BYTES, RAGGED)]
    upstream.will(answer(body), answer(body), *chunked)

    assert await post(upstream.base_url, "any", asked) == body
    for pieces in ("with its length", "byte by byte", "in ragged pieces"):
        assert await post(proxy.base_url, key, asked) == body, pieces


async def test_a_megabyte_arrives_whole(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=100)
    body = json.dumps(completion("🦉é" * (MEGABYTE // 6)), ensure_ascii=False).encode()
    upstream.will(in_pieces(body, (8191, 1, 65537), kind="application/json"))

    assert len(body) > MEGABYTE
    assert await post(proxy.base_url, key, CHAT) == body


@pytest.mark.parametrize("events", [1, 500], ids=["in one event", "in 500 events"])
async def test_a_megabyte_is_streamed_whole(proxy: RunningProxy, upstream: ScriptedUpstream, events: int) -> None:
    key = await proxy.user_key("ana", energy=100)
    text = "🦉é" * (MEGABYTE // 6 // events)
    spoken = [role(), *[delta(text)] * events, finish()]
    body = b"".join(b"data: %b\n\n" % json.dumps(said, ensure_ascii=False).encode() for said in spoken)
    upstream.will(in_pieces(body + DONE, (8191, 1, 65537)))

    assert len(body) > 0.99 * MEGABYTE
    assert await post(proxy.base_url, key, {**CHAT, "stream": True}) == body + DONE


async def test_what_the_upstream_compresses_arrives_plain(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=100)
    body = WHOLE_TEXT.read_bytes()
    upstream.will(answer(gzip.compress(body), headers={"content-encoding": "gzip"}))

    assert await post(proxy.base_url, key, CHAT) == body
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


# --- what was sent arrives when it was sent ---------------------------------------------------------------------------


async def test_each_chunk_reaches_the_client_before_the_upstream_sends_the_next(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """The upstream goes on only when the client has what came before: held back anywhere, this would never end."""
    spoken: list[Any] = [delta("one"), delta("two 🦉"), ": a comment", delta("three"), finish()]
    read = [asyncio.Event() for _ in spoken]
    script: list[Step] = [head(), event(role())]
    for said, seen in zip(spoken, read, strict=True):
        script += [chunk(f"{said}\n\n".encode()) if isinstance(said, str) else event(said), wait_for(seen)]
    upstream.will([*script, event(usage_event()), done(), end()])
    key = await proxy.user_key("ana", energy=100)

    got: list[bytes] = []
    async with asyncio.timeout(WAIT_S), httpx.AsyncClient(timeout=WAIT_S) as client:
        asked, headers = {**CHAT, "stream": True}, {"authorization": f"Bearer {key}"}
        async with client.stream("POST", f"{proxy.base_url}/chat/completions", json=asked, headers=headers) as response:
            async for received in response.aiter_raw():
                got.append(received)
                for seen in read[: len(events_of(b"".join(got))) - 1]:  # the role came with the first content
                    seen.set()

    assert len(events_of(b"".join(got))) == 1 + len(spoken) + 1
    assert b"".join(got).endswith(DONE)


async def test_the_first_content_of_a_tool_call_or_of_reasoning_is_content(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    key = await proxy.user_key("ana", energy=100)
    for first in (
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"reasoning_content": "Hm"},
        {"refusal": "I"},
        {"audio": {"id": "audio_1"}},
        {"not_yet_invented": 1},
    ):
        said = delta("")
        said["choices"][0]["delta"] = first
        seen, sent = asyncio.Event(), asyncio.Event()
        upstream.will([head(), event(role()), event(said), tell(sent), wait_for(seen), event(finish()), done(), end()])
        async with asyncio.timeout(WAIT_S), proxy.sdk(key) as client:
            spoken = await client.chat.completions.create(**CHAT, stream=True)
            async for part in spoken:
                if part.choices[0].delta.to_dict() == first:
                    assert sent.is_set()
                    seen.set()
        assert seen.is_set(), first


# --- what the SDK makes of it -----------------------------------------------------------------------------------------


async def test_the_sdk_sees_equal_chunks(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=1000)

    async def chunks(client: AsyncOpenAI, more: Any) -> list[Any]:
        stream: Any = await client.chat.completions.create(**CHAT, **more)
        return [part.to_dict(warnings=False) async for part in stream]

    async with proxy.sdk(key) as proxied, AsyncOpenAI(base_url=upstream.base_url, api_key="any") as direct:
        for recording in STREAMS:
            if recording.stem in SDK_CANNOT_READ + SDK_READS_BETTER_THROUGH_THE_PROXY:
                continue
            body = recording.read_bytes()
            upstream.will(in_pieces(body, ALL), in_pieces(body, RAGGED))
            asked = {**choices_of(recording), **ASKED}
            expected, got = await chunks(direct, asked), await chunks(proxied, asked)
            assert got[-1].pop("orch")["model"] == "gpt-4o"
            if len(got) == len(expected) + 1:  # the server sent no usage chunk: ours
                assert got.pop()["choices"] == []
            assert exactly(got) == exactly(expected), recording.stem


@pytest.mark.parametrize("name", SDK_READS_BETTER_THROUGH_THE_PROXY)
async def test_the_sdk_reads_to_its_end_what_it_cannot_read_directly(
    proxy: RunningProxy, upstream: ScriptedUpstream, name: str
) -> None:
    [recording] = recorded(f"stream/{name}.sse")
    upstream.will(in_pieces(recording.read_bytes(), RAGGED))

    async with (
        proxy.sdk(await proxy.user_key("ana", energy=100)) as client,
        client.chat.completions.stream(model="gpt-4o", messages=HELLO) as events,
    ):
        final = await events.get_final_completion()

    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content


async def test_the_sdk_sees_equal_answers(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=1000)

    async def object_from(client: AsyncOpenAI, recording: Path) -> Any:
        if recording.stem.startswith("embeddings"):
            return (await client.embeddings.create(**EMBED)).to_dict()
        return (await client.chat.completions.create(**CHAT)).to_dict(warnings=False)

    async with proxy.sdk(key) as proxied, AsyncOpenAI(base_url=upstream.base_url, api_key="any") as direct:
        for recording in WHOLES:
            body = recording.read_bytes()
            upstream.will(answer(body), answer(body))
            expected, got = await object_from(direct, recording), await object_from(proxied, recording)
            assert exactly(got) == exactly(expected), recording.stem


@pytest.mark.parametrize("recording", ERRORS, ids=lambda path: path.stem)
async def test_a_refused_request_is_refused_with_the_same_error(
    proxy: RunningProxy, upstream: ScriptedUpstream, recording: Path
) -> None:
    refusal = answer(recording.read_bytes(), status=int(recording.stem[:3]))
    upstream.will(refusal, refusal)

    async def error_from(client: AsyncOpenAI) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(**CHAT)
        return raised.value

    key = await proxy.user_key("ana", energy=100)
    async with proxy.sdk(key) as proxied, AsyncOpenAI(base_url=upstream.base_url, api_key="any") as direct:
        expected, got = await error_from(direct), await error_from(proxied)

    assert type(got) is type(expected)
    assert got.status_code == expected.status_code
    said: Any = expected.body
    shown: Any = got.body
    assert shown["message"].endswith(said["message"])  # before it stands who said so: "OpenAI API error: 400 - "
    assert exactly({**shown, **said}) == exactly({**shown, "message": said["message"]})  # filters, metadata …
    assert (got.param, got.code) == (expected.param, expected.code)
    assert got.type == (expected.type if "type" in said else "invalid_request_error")
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    "odd",
    [
        {"finish_reason": "\ud83e"},
        {"finish_reason": "stop\0" * 10_000},
        {"usage": {"prompt_tokens": 2**53, "completion_tokens": 2**53, "total_tokens": 2**54}},
        {"error": {"message": "half an owl: \ud83e", "code": 10**30, "type": "invalid_request_error"}},
    ],
    ids=["half an emoji", "endless", "more tokens than there are", "an error"],
)
async def test_nothing_that_an_upstream_says_keeps_a_call_from_being_closed(
    proxy: RunningProxy, upstream: ScriptedUpstream, odd: dict[str, Any], streamed: bool
) -> None:
    said = finish() if streamed else completion()
    said["choices"][0] |= {"finish_reason": odd.get("finish_reason", "stop")}
    body = json.dumps({**said, **odd}).encode()
    upstream.always([head(), event(delta("x")), event(body), done(), end()] if streamed else answer(body))
    asked = {**CHAT, "stream": streamed}
    headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}

    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        answered = await client.post(f"{proxy.base_url}/chat/completions", json=asked, headers=headers)

    assert answered.status_code == (400 if "error" in odd and not streamed else 200)
    row = await proxy.parts.store.call(upstream.requests[-1].call_id or "")
    balance = await proxy.parts.store.balance("app/ana")
    assert row is not None
    assert balance is not None
    assert (row["state"], balance.held) == ("closed", 0)
    assert row["points_charged"] == (0 if "error" in odd else 10)
    assert await proxy.parts.store.verify() == []


# --- what the client sends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda path: path.stem)
async def test_a_request_reaches_the_upstream_with_the_same_value(
    proxy: RunningProxy, upstream: ScriptedUpstream, recording: Path
) -> None:
    sent: dict[str, Any] = json.loads(recording.read_bytes())
    key = await proxy.user_key("ana", energy=100)

    await post(proxy.base_url, key, recording.read_bytes())

    if sent.get("stream"):
        sent["stream_options"]["include_usage"] = True  # usage is always asked for, and told to who asked for it
    assert exactly(upstream.requests[0].body) == exactly(sent)
