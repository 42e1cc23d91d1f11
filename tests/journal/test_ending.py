"""Every row of the charge table is read off what is left of a call."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.call import Attempt, Call, Chunk, Cut, Deployment, Ending, How, Outcome, Part, Usage
from proxy.errors import DeadlineExceeded, OrchError, UpstreamBroke, UpstreamTimeout, UpstreamUnavailable
from proxy.journal.ending import closing, ending, why
from proxy.testing import Collected, fake_call

HERE = Deployment(upstream="openai", provider="openai", model="gpt-4o-2024")
USED = Usage(input_tokens=12, output_tokens=40, cached_input_tokens=5)
OUTCOME = Outcome(model="gpt-4o", deployment=HERE, usage=USED, cost_nanousd=430_000, finish_reasons=("stop",))
CONTENT = Chunk(b"data: {}\n\n", Part.CONTENT)
CANCELLED = asyncio.CancelledError()
NO = None


async def ended(*, content: str | None, cut: Cut | None, outcome: Outcome | None = None) -> Call:
    """A call whose client got content of the model ``content``, that was cut, or that was answered."""
    reply = Collected()
    if content:
        await reply.send(CONTENT)
    reply.cut = cut
    call = fake_call(reply=reply)
    call.trace.answering = content
    call.trace.outcome = outcome
    return call


ROWS = [
    # what came out, the cut, whose content the client got -> how, whose
    (CANCELLED, Cut.GONE, "gpt-4o", How.LEFT_AFTER, "gpt-4o"),
    (CANCELLED, Cut.GONE, NO, How.LEFT_BEFORE, NO),
    (CANCELLED, Cut.DEADLINE, "gpt-4o", How.OVERDUE, "gpt-4o"),
    (CANCELLED, Cut.DEADLINE, NO, How.FAILED, NO),
    (DeadlineExceeded("late"), NO, "gpt-4o", How.OVERDUE, "gpt-4o"),
    (DeadlineExceeded("late"), NO, NO, How.FAILED, NO),
    (CANCELLED, Cut.STALLED, "gpt-4o", How.STALLED, "gpt-4o"),
    (CANCELLED, Cut.STALLED, NO, How.FAILED, NO),
    (CANCELLED, NO, "gpt-4o", How.SHUTDOWN, "gpt-4o"),
    (CANCELLED, NO, NO, How.SHUTDOWN, NO),
    (UpstreamBroke("cut"), NO, "gpt-4o", How.BROKEN, "gpt-4o"),
    (UpstreamBroke("cut"), Cut.GONE, "gpt-4o", How.BROKEN, "gpt-4o"),
    (UpstreamUnavailable("503"), NO, NO, How.FAILED, NO),
    (UpstreamTimeout("silent"), NO, NO, How.FAILED, NO),
    (RuntimeError("a bug"), NO, NO, How.FAILED, NO),
    (RuntimeError("a bug"), NO, "gpt-4o", How.BROKEN, "gpt-4o"),
]


@pytest.mark.parametrize(("error", "cut", "content", "how", "whose"), ROWS)
async def test_a_call_that_was_not_answered(
    error: BaseException, cut: Cut | None, content: str | None, how: How, whose: str | None
) -> None:
    assert ending(await ended(content=content, cut=cut), error) == Ending(how, whose)


@pytest.mark.parametrize("cut", [None, *Cut])
@pytest.mark.parametrize("error", [None, CANCELLED, UpstreamBroke("cut"), OrchError("x"), DeadlineExceeded("late")])
async def test_a_complete_answer_stays_one_whoever_hangs_up_next(error: BaseException | None, cut: Cut | None) -> None:
    call = await ended(content="gpt-4o", cut=cut, outcome=OUTCOME)
    assert ending(call, error) == Ending(How.ANSWERED, "gpt-4o")
    assert why(call, error) is None


async def test_a_chain_that_returns_has_answered_on_the_calls_model() -> None:
    call = await ended(content=None, cut=None)
    assert ending(call, None) == Ending(How.ANSWERED, "gpt-4o")


@pytest.mark.parametrize(
    ("error", "cut", "reason"),
    [
        (UpstreamUnavailable("503"), None, "upstream_unavailable"),
        (UpstreamUnavailable("503", reason="no_deployment"), Cut.GONE, "no_deployment"),
        (CANCELLED, Cut.GONE, "gone"),
        (CANCELLED, Cut.DEADLINE, "deadline"),
        (CANCELLED, None, "shutdown"),
        (ZeroDivisionError(), None, "internal_error"),
    ],
)
async def test_the_record_says_why(error: BaseException, cut: Cut | None, reason: str) -> None:
    assert why(await ended(content=None, cut=cut), error) == reason


async def test_an_answers_record_names_who_answered_what_it_used_and_every_attempt() -> None:
    call = await ended(content="gpt-4o", cut=None, outcome=OUTCOME)
    start = call.trace.received_at
    other = replace(HERE, upstream="azure", provider="azure")
    call.trace.attempts += [
        Attempt(model="gpt-4o", deployment=other, started_at=start, ended_at=start + 0.25, status=503, error="x"),
        Attempt(model="gpt-4o", deployment=HERE, started_at=start + 0.3, first_content_at=start + 0.5, status=200),
    ]
    close = closing(call, Ending(How.ANSWERED, "gpt-4o"), None, points=10, now_s=start + 1.5)
    assert (close.how, close.points_charged, close.model, close.error) == ("answered", 10, "gpt-4o", None)
    assert (close.upstream, close.provider, close.upstream_model) == ("openai", "openai", "gpt-4o-2024")
    assert (close.input_tokens, close.output_tokens, close.cached_input_tokens) == (12, 40, 5)
    assert (close.cost_nanousd, close.finish_reasons, close.usage_estimated) == (430_000, ("stop",), False)
    assert (close.first_content_ms, close.duration_ms) == (500, 1500)
    assert [attempt["ended_ms"] for attempt in close.attempts] == [250, None]
    assert [attempt["error"] for attempt in close.attempts] == ["x", None]


async def test_a_cut_answers_record_has_what_it_used_so_far() -> None:
    call = await ended(content="gpt-4o", cut=Cut.GONE)
    call.trace.partial = replace(OUTCOME, usage=Usage(input_tokens=12, output_tokens=7, estimated=True))
    close = closing(call, Ending(How.LEFT_AFTER, "gpt-4o"), CANCELLED, points=10, now_s=call.trace.received_at)
    assert (close.provider, close.output_tokens, close.usage_estimated, close.error) == ("openai", 7, True, "gone")


async def test_who_delivered_content_is_named_even_when_it_counted_nothing() -> None:
    call = await ended(content="gpt-4o", cut=None)
    now = call.trace.received_at
    call.trace.attempts.append(Attempt(model="gpt-4o", deployment=HERE, started_at=now, first_content_at=now))
    close = closing(call, Ending(How.SHUTDOWN, "gpt-4o"), CANCELLED, points=0, now_s=now)
    assert (close.provider, close.input_tokens, close.cost_nanousd) == ("openai", None, None)


async def test_nobody_is_named_for_a_call_that_nobody_answered() -> None:
    call = await ended(content=None, cut=None)
    now = call.trace.received_at
    call.trace.attempts.append(Attempt(model="gpt-4o", deployment=HERE, started_at=now, status=500, error="x"))
    close = closing(call, Ending(How.FAILED, None), UpstreamUnavailable("500"), points=0, now_s=now)
    assert (close.model, close.provider, close.upstream, close.first_content_ms) == (None, None, None, None)
