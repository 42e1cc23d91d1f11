"""Letting an answer out and withholding its tail."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message

from proxy.call import Call, Chunk, Cut, Deployment, Head, Outcome, Part, Receipt, Usage
from proxy.config.settings import Limits
from proxy.edge.errors import failure
from proxy.edge.reply import BodyReply, StreamReply, reply_for
from proxy.errors import UpstreamBroke
from proxy.testing import fake_call

HEAD = Head("gpt-4o", Deployment(upstream="u", provider="openai", model="gpt-4o"), None)
OUTCOME = Outcome(
    model="gpt-4o",
    deployment=HEAD.deployment,
    usage=Usage(input_tokens=12, output_tokens=7),
    cost_nanousd=1500,
)
LIMITS = Limits()


class Client:
    """An ASGI send that keeps what it is given; ``reading`` cleared: it takes nothing more."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def __call__(self, message: Message) -> None:
        await self.reading.wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def ended(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get(
            "more_body", self.messages[-1]["type"] != "http.response.body"
        )


def _stream(client: Client, limits: Limits = LIMITS, **fields: Any) -> tuple[StreamReply, Call]:
    call = fake_call(stream=True, **fields)
    reply = reply_for(call, client, limits)
    assert isinstance(reply, StreamReply)
    return reply, call


def _content(text: str) -> Chunk:
    return Chunk(f"data: {text}\n\n".encode(), Part.CONTENT)


async def test_content_leaves_at_once_and_the_tail_only_at_the_end() -> None:
    client = Client()
    reply, call = _stream(client)

    await reply.open(HEAD)
    await reply.send(_content("a"))
    await reply.send(Chunk(b'data: {"choices":[],"usage":{}}\n\n', Part.USAGE))
    await reply.send(Chunk(b"data: [DONE]\n\n", Part.DONE))

    assert client.body == b"data: a\n\n"
    assert not client.ended
    await reply.finish(call, OUTCOME)
    assert client.body == b"data: a\n\ndata: [DONE]\n\n"
    assert client.ended


async def test_a_stream_that_asked_for_usage_gets_the_receipt_with_it() -> None:
    client = Client()
    reply, call = _stream(client, usage_wanted=True)
    call.trace.receipt = Receipt(10, 15)

    await reply.open(HEAD)
    await reply.send(Chunk(b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":12}}\n\n', Part.USAGE))
    await reply.finish(call, OUTCOME)

    first, last, _ = client.body.split(b"\n\n")
    usage = json.loads(first.removeprefix(b"data: "))
    assert usage["id"] == "x"
    assert usage["orch"] == {"model": "gpt-4o", "energy_charged": 10, "energy_remaining": 15, "cost_usd": "0.0000015"}
    assert last == b"data: [DONE]"


async def test_a_stream_that_asked_for_usage_gets_it_though_the_provider_sent_none() -> None:
    client = Client()
    reply, call = _stream(client, usage_wanted=True)

    await reply.open(HEAD)
    await reply.finish(call, OUTCOME)

    usage = json.loads(client.body.split(b"\n\n")[0].removeprefix(b"data: "))
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (12, 7)


async def test_a_failure_before_content_has_a_status_and_after_content_is_the_last_event() -> None:
    before, after = Client(), Client()
    (unopened, _), (opened, _) = _stream(before), _stream(after)
    await opened.open(HEAD)

    await unopened.fail(failure(UpstreamBroke("cut")), [])
    await opened.fail(failure(UpstreamBroke("cut")), [])

    assert before.messages[0]["status"] == 502
    assert json.loads(before.body)["error"]["message"] == "cut"
    assert after.messages[0]["status"] == 200
    assert json.loads(after.body.removeprefix(b"data: "))["error"]["message"] == "cut"
    assert b"[DONE]" not in after.body
    assert after.ended


async def test_a_reader_that_stalls_is_cut_off() -> None:
    client = Client()
    reply, _ = _stream(client, Limits(stall_s=0.01))
    cut = asyncio.Event()
    reply.on_cut = cut.set
    await reply.open(HEAD)
    client.reading.clear()

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(reply.send(_content("a")))
        await cut.wait()
        writing.cancel()

    assert reply.cut is Cut.STALLED


async def test_a_reader_that_does_not_take_the_tail_is_not_waited_for() -> None:
    client = Client()
    reply, call = _stream(client, Limits(stall_s=0.01))
    await reply.open(HEAD)
    client.reading.clear()

    await reply.finish(call, OUTCOME)

    assert not client.ended


async def test_a_whole_answer_leaves_with_its_charge_in_the_headers() -> None:
    client = Client()
    call = fake_call()
    call.trace.receipt = Receipt(10, 15)
    reply = reply_for(call, client, LIMITS)
    assert isinstance(reply, BodyReply)

    await reply.open(HEAD)
    await reply.send(Chunk(b'{"choices":[]}', Part.BODY))
    assert client.messages == []
    await reply.finish(call, OUTCOME)

    headers = dict(client.messages[0]["headers"])
    assert headers[b"x-orch-energy-charged"] == b"10"
    assert headers[b"content-length"] == b"14"
    assert client.body == b'{"choices":[]}'


@pytest.mark.parametrize(("why", "is_cut"), [(Cut.DEADLINE, False), (Cut.GONE, True)])
def test_a_deadline_does_not_cut_an_answer_that_is_complete(why: Cut, is_cut: bool) -> None:
    reply, call = _stream(Client())
    call.trace.outcome = OUTCOME

    reply.cut_off(why)

    assert (reply.cut is why) is is_cut


def test_the_first_cut_is_the_one_that_counts() -> None:
    reply, _ = _stream(Client())
    cuts: list[None] = []
    reply.on_cut = lambda: cuts.append(None)

    reply.cut_off(Cut.GONE)
    reply.cut_off(Cut.DEADLINE)

    assert (reply.cut, len(cuts)) == (Cut.GONE, 1)


async def test_a_silent_stream_can_be_kept_alive_until_it_has_content() -> None:
    client = Client()
    reply, call = _stream(client, Limits(headers_after_s=0.001))

    async with asyncio.TaskGroup() as group:
        group.create_task(reply.keep_alive())
        while client.body.count(b": keep-alive\n\n") < 2:
            await asyncio.sleep(0)
        assert not reply.started  # nothing of an answer yet: another model may still give it
        await reply.open(HEAD)
        await reply.send(_content("a"))
    await reply.finish(call, OUTCOME)

    assert [message["type"] for message in client.messages].count("http.response.start") == 1
    assert client.body.endswith(b"data: a\n\ndata: [DONE]\n\n")


async def test_content_that_comes_while_the_head_is_leaving_waits_for_it() -> None:
    client = Client()
    reply, _ = _stream(client, Limits(headers_after_s=0.001))
    client.reading.clear()

    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(reply.keep_alive())
        while not reply._head_leaving.locked():
            await asyncio.sleep(0)
        opening = group.create_task(reply.open(HEAD))
        await asyncio.sleep(0)
        keeping.cancel()
        client.reading.set()
        await opening
        await reply.send(_content("a"))

    assert [message["type"] for message in client.messages] == ["http.response.start", "http.response.body"]


async def test_a_stream_that_was_kept_alive_fails_with_an_event() -> None:
    client = Client()
    reply, _ = _stream(client, Limits(headers_after_s=0.001))
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(reply.keep_alive())
        while not client.body:
            await asyncio.sleep(0)
        keeping.cancel()

    await reply.fail(failure(UpstreamBroke("nobody")), [])

    assert client.messages[0]["status"] == 200
    assert b'"message":"nobody"' in client.body


async def test_a_stream_is_silent_until_content_unless_asked_to_speak() -> None:
    client = Client()
    reply, _ = _stream(client)

    await reply.keep_alive()

    assert client.messages == []
