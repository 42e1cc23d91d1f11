"""Serving one call: the chain runs in a task, its watcher beside it, and the answer's tail waits for the journal.

The client's hang-up, the deadline and a stalled reader each set their mark on the reply and then cancel the task. A
cancellation without a mark is our own shutdown. Nothing here outlives the call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from starlette.types import Receive

from proxy.call import Call, Cut, Handler, Outcome
from proxy.edge.errors import Failure, failure
from proxy.edge.headers import Headers, policy_headers, receipt_headers
from proxy.edge.receive import ClientGone
from proxy.edge.reply import BodyReply, StreamReply
from proxy.errors import DeadlineExceeded, OrchError, Overloaded
from proxy.telemetry.port import Observer

log = logging.getLogger("proxy.edge")

Refused = Callable[[Call, OrchError], Awaitable[None]]
"""Records a call that was refused before any reserve."""

COMPLETE_BUT_CUT = "the answer was complete and is charged, but its end could not be sent"

LAST_WORD_S = 1.0
"""How long a shutdown waits to tell a client that its stream was cut."""


async def serve(call: Call, handler: Handler, *, refused: Refused, receive: Receive, observer: Observer) -> None:
    """Answer the call. Errors of ours are answered here; a client that left is not."""
    assert isinstance(call.reply, BodyReply | StreamReply)
    reply = call.reply
    try:
        outcome = await _observed(call, _run(call, handler, reply, receive), observer)
    except ClientGone:
        return
    except asyncio.CancelledError:
        await _last_word(call, reply)
        raise
    except OrchError as error:
        if not call.trace.recorded:
            await refused(call, error)
        await reply.fail(_failure(call, error), _failure_headers(call))
        return
    await reply.finish(call, outcome)


async def _observed(call: Call, running: Awaitable[Outcome], observer: Observer) -> Outcome:
    """Whatever becomes of the call, the observer hears of it before the client does."""
    failed: Exception | None = None
    try:
        return await running
    except Exception as error:
        failed = error
        raise
    finally:
        observer.ended(call, failed)


async def _run(call: Call, handler: Handler, reply: BodyReply | StreamReply, receive: Receive) -> Outcome:
    """The outcome, once it is committed. Raises OrchError, or ClientGone when nobody is left to answer."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_result(call, handler))
        reply.on_cut = work.cancel
        beside = (group.create_task(_watch(receive, reply)), group.create_task(reply.keep_alive()))
        deadline = loop.call_later(call.deadline_at - time.monotonic(), reply.cut_off, Cut.DEADLINE)
        try:
            await asyncio.wait((work,))
        finally:
            deadline.cancel()
            for task in beside:
                task.cancel()
    if not work.cancelled():
        result = work.result()
        if isinstance(result, Exception):
            raise result
        return result
    if reply.cut is Cut.DEADLINE:
        raise DeadlineExceeded("The call took longer than its deadline allows.")
    raise ClientGone


async def _result(call: Call, handler: Handler) -> Outcome | Exception:
    """An error as a value: raised inside the group it would come out wrapped."""
    try:
        return await handler(call)
    except Exception as error:
        return error


async def _watch(receive: Receive, reply: BodyReply | StreamReply) -> None:
    """uvicorn's send() returns silently after a hang-up, so somebody has to listen for it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.cut_off(Cut.GONE)


async def _last_word(call: Call, reply: BodyReply | StreamReply) -> None:
    """Our shutdown cut the call: say so, and what it means for its charge, if the client still listens."""
    meant = "the call was cut and is not charged" if call.trace.outcome is None else COMPLETE_BUT_CUT
    error = Overloaded(f"The server is shutting down; {meant}.", reason="shutdown")
    try:
        async with asyncio.timeout(LAST_WORD_S):
            await reply.fail(_failure(call, error), _failure_headers(call))
    except (TimeoutError, RuntimeError, OSError):
        log.info("call %s: cut by the shutdown, its client could not be told", call.id)


def _failure(call: Call, error: OrchError) -> Failure:
    return failure(error, attempts=len(call.trace.attempts))


def _failure_headers(call: Call) -> Headers:
    return [*policy_headers(call), *receipt_headers(call.trace.receipt, None)]
