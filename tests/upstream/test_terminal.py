"""The terminal handler: one attempt, its answer counted, its end in the trace however it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Attempt, Call, Cut, Deployment, Model, Operation, Outcome, Part, Usage
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
    Collected,
    FakeRoutes,
    FakeUpstream,
    ScriptedUpstream,
    answer,
    chunk,
    completion,
    default_stream,
    delta,
    embeddings,
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
)
from proxy.upstream import open_upstream, terminal
from proxy.upstream.terminal import ADAPTER_FAILED, Terminal, choose, cost_nanousd

DONE = encode(b"[DONE]")
STREAMING = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi there"}], "stream": True}
WHOLE = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi there"}]}
PRICED = fake_model("gpt-4o", "fake/gpt-4o-2024", input_picousd=2_500_000, output_picousd=10_000_000)


def wire(payload: Mapping[str, Any]) -> bytes:
    return encode(json.dumps(payload).encode())


def collected(call: Call) -> Collected:
    assert isinstance(call.reply, Collected)
    return call.reply


def reported(call: Call) -> list[Attempt]:
    assert isinstance(call.ports.routes, FakeRoutes)
    return call.ports.routes.reported


def streaming(*models: Model, **changes: Any) -> Call:
    return fake_call(body=STREAMING, ports=fake_ports(*models), **changes)


async def run(call: Call, *script: bytes | Exception | asyncio.Event) -> Outcome:
    return await Terminal({"fake": FakeUpstream(script)}, Limits())(call)


# --- answered --------------------------------------------------------------------------------------------------------


async def test_a_stream_is_handed_on_counted_and_priced() -> None:
    call = streaming(PRICED)
    events = [wire(role()), wire(delta("Hello")), wire(finish()), wire(usage_event()), DONE]
    outcome = await run(call, *events)
    assert outcome == Outcome(
        model="gpt-4o",
        deployment=PRICED.deployments[0],
        usage=Usage(input_tokens=12, output_tokens=7),
        cost_nanousd=12 * 2_500 + 7 * 10_000,
        finish_reasons=("stop",),
    )
    assert call.trace.outcome == outcome
    assert collected(call).raw == b"".join(events[:3] + events[4:])  # nobody asked for the usage chunk
    assert collected(call).parts == [Part.PRELUDE, Part.CONTENT, Part.CONTENT, Part.DONE]
    assert collected(call).heads[0].deployment.model == "gpt-4o-2024"


async def test_the_usage_chunk_goes_to_whoever_asked_for_it() -> None:
    call = streaming(usage_wanted=True)
    await run(call, wire(delta("a")), wire(finish()), wire(usage_event()), DONE)
    assert collected(call).parts == [Part.CONTENT, Part.CONTENT, Part.USAGE, Part.DONE]


async def test_a_whole_answer_is_handed_on_counted_and_priced() -> None:
    body = json.dumps(completion()).encode()
    call = fake_call(body=WHOLE, ports=fake_ports(PRICED))
    outcome = await run(call, body)
    assert outcome.usage == Usage(input_tokens=12, output_tokens=7)
    assert outcome.cost_nanousd == 100_000
    assert outcome.finish_reasons == ("stop",)
    assert collected(call).raw == body
    assert call.trace.outcome == outcome
    assert call.trace.answering == "gpt-4o"


async def test_embeddings_are_answered_without_output_tokens() -> None:
    asked = {"model": "gpt-4o", "input": ["a", "b"]}
    model = fake_model("gpt-4o", input_picousd=20_000)
    call = fake_call(body=asked, operation=Operation.EMBEDDINGS, ports=fake_ports(model))
    outcome = await run(call, json.dumps(embeddings(asked)).encode())
    assert outcome.usage == Usage(input_tokens=5, output_tokens=0)
    assert outcome.cost_nanousd == 100  # known, though nobody knows a price of output


@pytest.mark.parametrize("body", [STREAMING, WHOLE])
async def test_usage_that_was_not_sent_is_estimated_and_flagged(body: dict[str, Any]) -> None:
    call = fake_call(body=body)
    if call.stream:
        outcome = await run(call, wire(delta("x" * 40)), wire(finish()), DONE)
    else:
        outcome = await run(call, json.dumps(completion("x" * 40, usage=None)).encode())
    assert outcome.usage.estimated
    assert outcome.usage.output_tokens == 10
    assert outcome.usage.input_tokens > 0


async def test_an_attempt_that_answered_stands_in_the_trace_with_its_times() -> None:
    call = streaming()
    await run(call, wire(delta("a")), wire(finish()), DONE)
    (attempt,) = call.trace.attempts
    assert (attempt.status, attempt.error) == (200, None)
    assert attempt.first_content_at is not None
    assert attempt.ended_at is not None
    assert attempt.started_at <= attempt.first_content_at <= attempt.ended_at
    begun, ended = reported(call)
    assert (begun.ended_at, ended) == (None, attempt)


async def test_an_answer_to_two_choices_is_complete_when_both_are() -> None:
    call = fake_call(body={**STREAMING, "n": 2})
    with pytest.raises(UpstreamBroke):
        await run(call, wire(delta("a")), wire(finish(index=0)))
    call = fake_call(body={**STREAMING, "n": 2})
    outcome = await run(call, wire(delta("a")), wire(finish(index=1)), wire(finish("length", index=0)))
    assert outcome.finish_reasons == ("length", "stop")


async def test_what_comes_after_done_and_what_is_empty_is_not_handed_on() -> None:
    call = streaming()
    await run(call, b"data: \n\n", wire(delta("a")), b": still here\n\n", wire(finish()), DONE, DONE, wire(delta("b")))
    assert collected(call).raw == wire(delta("a")) + b": still here\n\n" + wire(finish()) + DONE


# --- what is sent ----------------------------------------------------------------------------------------------------


async def sent_for(call: Call, *, stream_usage: bool = True) -> Mapping[str, Any]:
    script = [wire(delta("a")), wire(finish()), DONE] if call.stream else [json.dumps(completion()).encode()]
    upstream = FakeUpstream(script, stream_usage=stream_usage)
    await Terminal({"fake": upstream}, Limits())(call)
    (request,) = upstream.requests
    assert (request.call_id, request.stream) == (call.id, call.stream)
    return request.body


async def test_the_upstreams_name_of_the_model_is_sent_and_usage_is_asked_for() -> None:
    call = streaming(PRICED)
    assert await sent_for(call) == {**STREAMING, "model": "gpt-4o-2024", "stream_options": {"include_usage": True}}
    assert call.body == STREAMING


async def test_usage_is_not_asked_for_where_the_upstream_does_not_take_that() -> None:
    options = {"include_usage": True}
    assert "stream_options" not in await sent_for(
        fake_call(body={**STREAMING, "stream_options": options}), stream_usage=False
    )
    more = {**options, "include_obfuscation": False}
    sent = await sent_for(fake_call(body={**STREAMING, "stream_options": more}), stream_usage=False)
    assert sent["stream_options"] == {"include_obfuscation": False}
    assert await sent_for(fake_call(body=WHOLE)) == WHOLE


async def test_a_call_that_was_moved_is_translated_for_the_deployment_that_is_asked() -> None:
    models = [fake_model("smart", "fake/gpt-4o"), fake_model("thinker", "fake/o3", "other/gpt-4o")]
    body = {**WHOLE, "model": "smart", "max_tokens": 9}
    asked = fake_call(model="smart", body=body, ports=fake_ports(*models))
    assert await sent_for(asked) == {**WHOLE, "model": "gpt-4o", "max_tokens": 9}
    moved = asked.on("thinker")
    assert await sent_for(moved) == {**WHOLE, "model": "o3", "max_completion_tokens": 9}


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


# --- where to ask ----------------------------------------------------------------------------------------------------

A, B, C = (Deployment(upstream=name, provider=name, model="m") for name in "abc")
MODEL = Model(name="m", deployments=(A, B, C))


def tried(*deployments: Deployment) -> list[Attempt]:
    return [Attempt(model="m", deployment=place, started_at=0, ended_at=1, error="x") for place in deployments]


def refused(deployment: Deployment) -> Attempt:
    return replace(tried(deployment)[0], repeatable=False)


@pytest.mark.parametrize(
    ("attempts", "down", "expected"),
    [
        ([], [], A),
        ([], [A], B),
        (tried(A), [], B),
        (tried(A, B, C), [], A),
        (tried(B, A, C), [], B),
        (tried(A, B, C, A), [], B),
        ([refused(A), *tried(B, C)], [], B),
        ([*tried(A), refused(B), *tried(C)], [], A),
        ([*tried(A, B), refused(A), refused(C)], [], B),
        ([], [A, B, C], A),
        ([refused(A)], [B, C], B),
        ([refused(A), refused(B), refused(C)], [], A),
        (tried(A), [B, C], A),
    ],
)
def test_untried_and_healthy_first_then_repeatable_and_longest_ago_then_any(
    attempts: list[Attempt], down: list[Deployment], expected: Deployment
) -> None:
    routes = FakeRoutes(MODEL, down=[place.id for place in down])
    assert choose(MODEL, routes, attempts) is expected


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "usage", "nanousd"),
    [
        ((2_500_000, 10_000_000, None), Usage(input_tokens=1, output_tokens=1), 12_500),
        ((2_500_000, 10_000_000, 1_250_000), Usage(input_tokens=10, output_tokens=0, cached_input_tokens=4), 20_000),
        ((2_500_000, 10_000_000, None), Usage(input_tokens=10, output_tokens=0, cached_input_tokens=4), 25_000),
        ((1_000, 0, 0), Usage(input_tokens=3, output_tokens=0, cached_input_tokens=9), 0),
        ((499, 0, None), Usage(input_tokens=1, output_tokens=0), 0),
        ((500, 0, None), Usage(input_tokens=1, output_tokens=0), 1),
        ((300, 300, None), Usage(input_tokens=1, output_tokens=1), 1),
        ((0, 0, None), Usage(input_tokens=5, output_tokens=5), 0),
        ((None, 10, None), Usage(input_tokens=1, output_tokens=1), None),
        ((10, None, None), Usage(input_tokens=1, output_tokens=1), None),
        ((1_000, None, None), Usage(input_tokens=1, output_tokens=0), 1),
        ((None, 1_000, None), Usage(input_tokens=0, output_tokens=2), 2),
    ],
)
def test_cost_is_whole_nano_dollars_rounded_once_and_unknown_stays_unknown(
    prices: tuple[int | None, int | None, int | None], usage: Usage, nanousd: int | None
) -> None:
    model = fake_model("m", input_picousd=prices[0], output_picousd=prices[1], cached_input_picousd=prices[2])
    assert cost_nanousd(model, usage) == nanousd


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
