"""How an attempt at the terminal handler ends: failed, broken, cut, or complete whatever comes next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import Attempt, Call, Cut, Model, Outcome
from proxy.config.settings import Limits, UpstreamSettings
from proxy.dialect.sse import encode
from proxy.errors import (
    UpstreamBroke,
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from proxy.testing import (
    USAGE,
    FakeRoutes,
    FakeUpstream,
    ScriptedUpstream,
    answer,
    chunk,
    collected,
    completion,
    default_stream,
    delta,
    end,
    error,
    event,
    fake_call,
    fake_model,
    fake_ports,
    finish,
    hang,
    head,
    reset,
    role,
    stream,
    usage_event,
    wire,
)
from proxy.upstream import open_upstream, terminal
from proxy.upstream.terminal import ADAPTER_FAILED, Terminal

DONE = encode(b"[DONE]")
STREAMING = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi there"}], "stream": True}
WHOLE = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi there"}]}
PRICED = fake_model("gpt-4o", "fake/gpt-4o-2024", input_picousd=2_500_000, output_picousd=10_000_000)


def reported(call: Call) -> list[Attempt]:
    assert isinstance(call.ports.routes, FakeRoutes)
    return call.ports.routes.reported


def streaming(*models: Model, **changes: Any) -> Call:
    return fake_call(body=STREAMING, ports=fake_ports(*models), **changes)


async def run(call: Call, *script: bytes | Exception | asyncio.Event) -> Outcome:
    return await Terminal({"fake": FakeUpstream(script)}, Limits())(call)


# --- failed ----------------------------------------------------------------------------------------------------------


async def test_a_failure_before_content_leaves_nothing_in_the_reply() -> None:
    call = streaming()
    failure = UpstreamLimited("slow down", status=429, retry_after_s=7)
    with pytest.raises(UpstreamLimited) as failed:
        await run(call, wire(role()), failure)
    assert failed.value is failure
    assert (collected(call).heads, collected(call).chunks) == ([], [])
    (attempt,) = call.trace.attempts
    assert (attempt.status, attempt.error, attempt.retry_after_s) == (429, "upstream_rate_limited", 7)
    assert attempt.repeatable
    assert reported(call)[-1] == attempt
    assert (call.trace.outcome, call.trace.partial, call.trace.answering) == (None, None, None)


async def test_a_failure_after_content_broke_the_answer_and_what_came_is_counted() -> None:
    call = streaming(PRICED)
    failure = UpstreamUnavailable("reset", status=None)
    with pytest.raises(UpstreamBroke, match="reset") as failed:
        await run(call, wire(delta("x" * 8)), failure)
    assert failed.value.__cause__ is failure
    assert call.trace.attempts[0].error == "upstream_broke"
    assert not call.trace.attempts[0].repeatable
    assert call.trace.outcome is None
    assert call.trace.partial is not None
    assert call.trace.partial.usage.estimated
    assert call.trace.partial.usage.output_tokens == 2
    assert call.trace.partial.cost_nanousd is not None


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([], UpstreamUnavailable),
        ([wire(role())], UpstreamUnavailable),
        ([DONE], UpstreamUnavailable),
        ([wire(role()), wire(usage_event()), DONE], UpstreamUnavailable),
        ([wire(delta("a"))], UpstreamBroke),
    ],
)
async def test_an_end_without_completion_is_no_answer(script: list[bytes], expected: type[UpstreamError]) -> None:
    call = streaming()
    with pytest.raises(UpstreamError) as failed:
        await run(call, *script)
    assert type(failed.value) is expected
    assert call.trace.outcome is None


async def test_done_without_content_ends_the_attempt_at_once() -> None:
    with pytest.raises(UpstreamUnavailable, match="without any content"):
        await run(streaming(), DONE, asyncio.Event())  # an upstream that never ends


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"<html>", UpstreamUnavailable),
        (b"{", UpstreamUnavailable),
        (b"[]", UpstreamUnavailable),
        (b"null", UpstreamUnavailable),
        (b'"text"', UpstreamUnavailable),
        (b'{"choices": {}}', UpstreamUnavailable),
        (b'{"choices": [1]}', UpstreamUnavailable),
        (b"[" * 50_000, UpstreamUnavailable),
        (b"\xff\xfe\x00", UpstreamUnavailable),
        (b'{"error": {"message": "m", "type": "rate_limit_error"}}', UpstreamLimited),
        (b'{"error": {"message": "m", "code": 401}}', UpstreamRefused),
        (
            b'{"error": {"message": "m", "code": "context_length_exceeded", "type": "invalid_request_error"}}',
            UpstreamRejected,
        ),
        (b'{"error": "overloaded"}', UpstreamUnavailable),
        (b'{"error": true}', UpstreamUnavailable),
    ],
)
async def test_anything_but_an_answer_is_a_typed_error(payload: bytes, expected: type[UpstreamError]) -> None:
    call = streaming()
    with pytest.raises(UpstreamError) as failed:
        await run(call, encode(payload))
    assert type(failed.value) is expected
    with pytest.raises(UpstreamError) as failed:
        await run(fake_call(body=WHOLE), payload)
    assert type(failed.value) is expected
    call = streaming()
    with pytest.raises(UpstreamBroke):
        await run(call, wire(delta("a")), encode(payload))
    assert collected(call).raw == wire(delta("a"))


async def test_an_event_whose_delta_is_none_is_a_typed_error() -> None:
    with pytest.raises(UpstreamUnavailable):
        await run(streaming(), wire({"choices": [{"delta": 5}]}))


async def test_an_endless_prelude_is_cut() -> None:
    call = streaming()
    with pytest.raises(UpstreamUnavailable, match="without content"):
        await run(call, *[b": " + b"x" * 1_000 + b"\n\n"] * 100)
    assert collected(call).chunks == []


async def test_an_answer_over_the_cap_is_refused_whoever_brings_it() -> None:
    upstream = FakeUpstream([json.dumps(completion("x" * 2_000)).encode()])
    with pytest.raises(UpstreamRefused, match="answer_bytes_max"):
        await Terminal({"fake": upstream}, Limits(answer_bytes_max=1_024))(fake_call(body=WHOLE))


async def test_a_defect_of_an_adapter_is_not_hidden() -> None:
    call = streaming()
    with pytest.raises(KeyError):
        await run(call, KeyError("a defect"))
    assert call.trace.attempts[0].error == ADAPTER_FAILED
    assert call.trace.attempts[0].ended_at is not None
    call = streaming()
    with pytest.raises(TimeoutError):
        await run(call, wire(delta("a")), TimeoutError("the adapter's own"))


PIECES = [b"data: ", b"\n\n", b"[DONE]", b"{}", b"null", b": c\n\n", b"\xff", b'{"choices":[', b"]}", wire(delta("a"))]
PIECES += [wire(role()), wire(finish()), wire(usage_event()), wire({"choices": [], "usage": {"prompt_tokens": -1}})]


@given(st.lists(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=4).map(b"".join), max_size=6))
def test_whatever_comes_is_an_answer_or_a_typed_error(script: list[bytes]) -> None:
    for body in (STREAMING, WHOLE):
        call = fake_call(body=body)
        came: Outcome | UpstreamError
        try:
            came = asyncio.run(run(call, *script))
        except UpstreamError as failed:
            came = failed
        assert collected(call).started == isinstance(came, Outcome | UpstreamBroke)
        assert call.trace.outcome == (came if isinstance(came, Outcome) else None)
        assert call.trace.attempts[0].ended_at is not None


# --- complete, and then? ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after",
    [UpstreamUnavailable("reset"), b"data: junk\n\n", b'data: {"error": {"message": "late"}}\n\n'],
    ids=["reset", "junk", "error event"],
)
async def test_a_failure_after_a_complete_answer_is_none(after: bytes | Exception) -> None:
    call = streaming()
    outcome = await run(call, wire(delta("abcd")), wire(finish()), after)
    assert outcome == call.trace.outcome
    assert outcome.usage.estimated
    assert (call.trace.attempts[0].error, call.trace.partial) == (None, None)
    assert collected(call).raw == wire(delta("abcd")) + wire(finish())


@pytest.mark.parametrize(("wait", "last"), [("TAIL_WAIT_S", wire(finish())), ("END_WAIT_S", DONE)])
async def test_a_complete_answer_does_not_wait_for_an_upstream_that_does_not_end(
    wait: str, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, wait, 0.01)
    call = streaming()
    upstream = FakeUpstream([wire(delta("a")), last, asyncio.Event()])
    outcome = await Terminal({"fake": upstream}, Limits())(call)
    assert outcome == call.trace.outcome
    assert upstream.cancelled == 1
    assert call.trace.attempts[0].error is None


async def cancelled_at(call: Call, *script: bytes) -> FakeUpstream:
    """Run until the script is through and the upstream is silent, then cancel."""
    silent, never = asyncio.Event(), asyncio.Event()

    class Telling(FakeUpstream):
        async def _play(self, step: bytes | Exception | asyncio.Event, take: Any) -> None:
            if step is never:
                silent.set()
            await super()._play(step, take)

    upstream = Telling([*script, never])
    running = asyncio.ensure_future(Terminal({"fake": upstream}, Limits())(call))
    await silent.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert upstream.cancelled == 1
    return upstream


async def test_a_call_cut_after_its_answer_was_complete_is_answered() -> None:
    call = streaming()
    await cancelled_at(call, wire(delta("a")), wire(finish()))
    assert call.trace.outcome is not None
    assert call.trace.outcome.finish_reasons == ("stop",)
    assert (call.trace.attempts[0].status, call.trace.attempts[0].error) == (200, None)


async def test_a_call_cut_after_content_keeps_what_was_used() -> None:
    call = streaming()
    collected(call).cut = Cut.GONE
    await cancelled_at(call, wire(delta("abcd")))
    assert call.trace.outcome is None
    assert call.trace.partial is not None
    assert call.trace.partial.usage.output_tokens == 1
    assert call.trace.attempts[0].error == "gone"
    assert reported(call)[-1] == call.trace.attempts[0]


async def test_a_call_cut_before_content_used_nothing_that_we_know_of() -> None:
    call = streaming()
    await cancelled_at(call, wire(role()))
    assert (call.trace.outcome, call.trace.partial) == (None, None)
    assert call.trace.attempts[0].error == "cancelled"
    assert call.trace.attempts[0].ended_at is not None


# --- over real sockets -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def served() -> AsyncIterator[tuple[ScriptedUpstream, Terminal]]:
    limits = Limits(sse_event_bytes_max=100_000)
    async with ScriptedUpstream() as server:
        upstream = await open_upstream("fake", UpstreamSettings(base_url=server.base_url), limits)
        try:
            yield server, Terminal({"fake": upstream}, limits)
        finally:
            await upstream.aclose()


async def test_over_a_socket_a_stream_arrives_as_it_was_sent_but_for_the_usage_chunk() -> None:
    events = default_stream({**STREAMING, "stream_options": {"include_usage": True}})
    async with served() as (server, handler):
        call = streaming()
        outcome = await handler(call)
        assert server.requests[0].body == {**STREAMING, "stream_options": {"include_usage": True}}
    assert outcome.usage.input_tokens == USAGE["prompt_tokens"]
    assert collected(call).raw == b"".join(map(wire, events[:-1])) + DONE


@pytest.mark.parametrize(
    ("body", "script", "expected"),
    [
        (STREAMING, error(500), UpstreamUnavailable),
        (STREAMING, [head(), event(role()), reset()], UpstreamUnavailable),
        (STREAMING, [head(), event(delta("a")), reset()], UpstreamBroke),
        (STREAMING, [head(), event(delta("a")), end()], UpstreamBroke),
        (STREAMING, [head(), event(delta("a")), chunk(b'data: {"cho'), end()], UpstreamBroke),
        (STREAMING, [head(), *[chunk(b"data: " + b"x" * 60_000)] * 2, hang()], UpstreamUnavailable),
        (STREAMING, stream(), UpstreamUnavailable),
        (WHOLE, answer(b"<html>", headers={"content-type": "text/html"}), UpstreamUnavailable),
        (WHOLE, answer({"error": {"message": "m", "type": "overloaded_error"}}), UpstreamUnavailable),
        (WHOLE, answer({"choices": []}), UpstreamUnavailable),
    ],
)
async def test_over_a_socket_each_misbehaviour_has_its_error_after_one_request(
    body: dict[str, Any], script: Any, expected: type[UpstreamError]
) -> None:
    async with served() as (server, handler):
        server.will(script)
        call = fake_call(body=body)
        with pytest.raises(UpstreamError) as failed:
            await handler(call)
        assert type(failed.value) is expected
        assert len(server.requests) == len(call.trace.attempts) == 1
        assert collected(call).started == (expected is UpstreamBroke)


async def test_over_a_socket_a_cancelled_call_hangs_up_on_its_upstream() -> None:
    async with served() as (server, handler):
        server.will([head(), event(delta("a")), hang()])
        call = streaming()
        running = asyncio.ensure_future(handler(call))
        await collected(call).content.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(1):
            await server.requests[0].hung_up.wait()


async def test_over_a_socket_a_connection_reset_after_the_finish_is_an_answer() -> None:
    async with served() as (server, handler):
        server.will([head(), event(delta("a")), event(finish()), reset()])
        outcome = await handler(streaming())
    assert outcome.finish_reasons == ("stop",)
