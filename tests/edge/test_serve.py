"""A call beside its watcher: hang-ups, deadlines, shutdowns, errors."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message

from proxy.call import Call, Chunk, Cut, Handler, Outcome, Part
from proxy.edge.reply import reply_for
from proxy.edge.serve import serve
from proxy.errors import BadRequest, OrchError, UpstreamBroke
from proxy.telemetry.observers import Observers
from proxy.telemetry.port import Observer
from proxy.testing import fake_call
from tests.edge.test_reply import HEAD, LIMITS, OUTCOME, Client
from tests.telemetry.heard import Heard


class Connection:
    """An ASGI receive: silent until ``hang_up`` is set."""

    def __init__(self) -> None:
        self.hang_up = asyncio.Event()

    async def __call__(self) -> Message:
        await self.hang_up.wait()
        return {"type": "http.disconnect"}


class Told:
    def __init__(self) -> None:
        self.refusals: list[OrchError] = []

    async def __call__(self, call: Call, error: OrchError) -> None:
        self.refusals.append(error)


class Hangs:
    """A handler that starts answering, says so, and then hangs; it keeps the cut it was cancelled with."""

    def __init__(self, *, content: bool) -> None:
        self.reached = asyncio.Event()
        self.cut: Cut | None = None
        self.cancelled = False
        self._content = content

    async def __call__(self, call: Call) -> Outcome:
        if self._content:
            await call.reply.open(HEAD)
            await call.reply.send(Chunk(b"data: a\n\n", Part.CONTENT))
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cut, self.cancelled = call.reply.cut, True
            raise
        raise AssertionError


async def _answers(call: Call) -> Outcome:
    await call.reply.open(HEAD)
    await call.reply.send(Chunk(b"data: a\n\n", Part.CONTENT))
    return OUTCOME


def _raises(error: Exception) -> Handler:
    async def handler(call: Call) -> Outcome:
        raise error

    return handler


async def _serve(
    handler: Handler,
    client: Client,
    connection: Connection,
    told: Told,
    observer: Observer | None = None,
    **fields: Any,
) -> None:
    call = fake_call(**{"stream": True, **fields})
    call = replace(call, reply=reply_for(call, client, LIMITS))
    await serve(call, handler, refused=told, receive=connection, observer=observer or Observers())


async def test_an_answer_is_finished() -> None:
    client, told = Client(), Told()

    await _serve(_answers, client, Connection(), told)

    assert client.body == b"data: a\n\ndata: [DONE]\n\n"
    assert told.refusals == []


@pytest.mark.parametrize("content", [True, False])
async def test_a_client_that_hangs_up_cancels_the_call_and_is_told_nothing(content: bool) -> None:
    client, connection, hangs = Client(), Connection(), Hangs(content=content)

    async with asyncio.TaskGroup() as group:
        group.create_task(_serve(hangs, client, connection, Told()))
        await hangs.reached.wait()
        connection.hang_up.set()

    assert hangs.cut is Cut.GONE
    assert client.body == (b"data: a\n\n" if content else b"")


async def test_the_deadline_before_content_is_a_504() -> None:
    client, hangs = Client(), Hangs(content=False)

    await _serve(hangs, client, Connection(), Told(), deadline_at=time.monotonic() + 0.01)

    assert hangs.cut is Cut.DEADLINE
    assert client.messages[0]["status"] == 504


async def test_the_deadline_after_content_is_the_streams_last_event() -> None:
    client, hangs = Client(), Hangs(content=True)

    await _serve(hangs, client, Connection(), Told(), deadline_at=time.monotonic() + 0.01)

    last = client.body.removeprefix(b"data: a\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "deadline_exceeded"
    assert client.ended


async def test_our_shutdown_cancels_the_call_without_a_cut_and_says_so() -> None:
    client, hangs = Client(), Hangs(content=True)

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(_serve(hangs, client, Connection(), Told()))
        await hangs.reached.wait()
        serving.cancel()

    assert hangs.cancelled
    assert hangs.cut is None
    assert b"shutting down" in client.body


async def test_a_complete_answer_that_our_shutdown_cuts_is_not_called_free() -> None:
    client, hangs = Client(), Hangs(content=True)

    async def completes(call: Call) -> Outcome:
        call.trace.outcome = OUTCOME
        return await hangs(call)

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(_serve(completes, client, Connection(), Told()))
        await hangs.reached.wait()
        serving.cancel()

    assert b"is charged" in client.body
    assert b"not charged" not in client.body


async def test_a_refusal_before_any_reserve_is_recorded_and_answered() -> None:
    client, told = Client(), Told()
    refusal = BadRequest("no such action", param="metadata.action")

    await _serve(_raises(refusal), client, Connection(), told)

    assert told.refusals == [refusal]
    assert client.messages[0]["status"] == 400


async def test_an_error_of_a_recorded_call_is_not_recorded_again() -> None:
    client, told = Client(), Told()

    async def fails(call: Call) -> Outcome:
        call.trace.recorded = True
        raise UpstreamBroke("cut")

    await _serve(fails, client, Connection(), told)

    assert told.refusals == []


async def test_a_bug_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        await _serve(_raises(ZeroDivisionError()), Client(), Connection(), Told())


async def test_the_observer_hears_of_an_answer_before_its_client_has_all_of_it() -> None:
    client, heard = Client(), Heard()

    await _serve(_answers, client, Connection(), Told(), _Comparing(heard, client))

    assert [error for _, error in heard.endings] == [None]


class _Comparing:
    """Hands on what it hears, and checks that the client still waits for the end."""

    def __init__(self, heard: Heard, client: Client) -> None:
        self._heard = heard
        self._client = client

    def ended(self, call: Call, error: Exception | None) -> None:
        assert not self._client.ended
        self._heard.ended(call, error)

    def refused(self, call: Call, error: OrchError) -> None:
        raise AssertionError

    def turned_away(self, error: OrchError) -> None:
        raise AssertionError


async def test_the_observer_hears_of_errors_bugs_and_hang_ups_too() -> None:
    heard, refusal, connection = Heard(), BadRequest("no"), Connection()
    connection.hang_up.set()

    await _serve(_raises(refusal), Client(), Connection(), Told(), heard)
    with pytest.raises(ZeroDivisionError):
        await _serve(_raises(ZeroDivisionError()), Client(), Connection(), Told(), heard)
    await _serve(Hangs(content=False), Client(), connection, Told(), heard)

    assert [type(error).__name__ for _, error in heard.endings] == ["BadRequest", "ZeroDivisionError", "ClientGone"]
