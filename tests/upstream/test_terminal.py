"""The terminal handler: where it asks, what it sends, how it counts what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Attempt, Call, Deployment, Model, Operation, Outcome, Part, Usage
from proxy.config.settings import Limits
from proxy.dialect.sse import encode
from proxy.errors import (
    UpstreamBroke,
)
from proxy.testing import (
    FakeRoutes,
    FakeUpstream,
    collected,
    completion,
    delta,
    embeddings,
    fake_call,
    fake_model,
    fake_ports,
    finish,
    role,
    usage_event,
    wire,
)
from proxy.upstream.terminal import Terminal, choose, cost_nanousd

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


async def sent_for(call: Call, *, takes: str = "stream_options") -> Mapping[str, Any]:
    script = [wire(delta("a")), wire(finish()), DONE] if call.stream else [json.dumps(completion()).encode()]
    upstream = FakeUpstream(script)
    upstream.stream_usage = takes == "stream_options"
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
    asking = fake_call(body={**STREAMING, "stream_options": options})
    assert "stream_options" not in await sent_for(asking, takes="nothing")
    more = {**options, "include_obfuscation": False}
    sent = await sent_for(fake_call(body={**STREAMING, "stream_options": more}), takes="nothing")
    assert sent["stream_options"] == {"include_obfuscation": False}
    assert await sent_for(fake_call(body=WHOLE)) == WHOLE


async def test_a_call_that_was_moved_is_translated_for_the_deployment_that_is_asked() -> None:
    models = [fake_model("smart", "fake/gpt-4o"), fake_model("thinker", "fake/o3", "other/gpt-4o")]
    body = {**WHOLE, "model": "smart", "max_tokens": 9}
    asked = fake_call(model="smart", body=body, ports=fake_ports(*models))
    assert await sent_for(asked) == {**WHOLE, "model": "gpt-4o", "max_tokens": 9}
    moved = asked.on("thinker")
    assert await sent_for(moved) == {**WHOLE, "model": "o3", "max_completion_tokens": 9}


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
