"""Timeout, in a loop whose clock leaps to the next timer: exact, and no test waits.

The upstream here is a script of pauses and chunks; what the client does while it takes a chunk is a pause of its own.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Attempt, Call, Chunk, Cut, Deployment, Head, Outcome, Part, Usage
from proxy.chain import chain
from proxy.errors import UpstreamBroke, UpstreamTimeout, UpstreamUnavailable
from proxy.policy.retry import Retry
from proxy.policy.timeout import Timeout
from proxy.testing import Collected, FakeRoutes, fake_call, fake_model, fake_ports

PLACE = Deployment(upstream="fake", provider="fake", model="gpt-4o")
OUTCOME = Outcome(model="gpt-4o", deployment=PLACE, usage=Usage(input_tokens=1, output_tokens=1), cost_nanousd=None)
HEAD = Head(model="gpt-4o", deployment=PLACE, downgraded_from=None)
CONTENT = Chunk(b"data: {}\n\n", Part.CONTENT)
PRELUDE = Chunk(b": hi\n\n", Part.PRELUDE)
BODY = Chunk(b"{}", Part.BODY)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its time stands still while tasks run and leaps to the next timer when all of them wait."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Leaping(self))

    def time(self) -> float:
        return self.now


class _Leaping(selectors.DefaultSelector):
    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self._loop.now += timeout
        return super().select(0)


def leaping(main: Coroutine[Any, Any, None]) -> float:
    """Run it; gives the seconds that passed on the loop's clock."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        loop = runner.get_loop()
        began = loop.time()
        runner.run(main)
        return loop.time() - began


class Upstream:
    """The end of the chain: pauses (seconds) and chunks, one script per attempt; afterwards it answers ``OUTCOME``."""

    def __init__(self, *scripts: list[float | Chunk]) -> None:
        self.scripts = list(scripts)
        self.cut = 0

    async def __call__(self, call: Call) -> Outcome:
        call.trace.attempts.append(Attempt(model=call.model, deployment=PLACE, started_at=time.monotonic()))
        try:
            await self._play(call, self.scripts.pop(0))
        except asyncio.CancelledError:
            self.cut += 1
            call.trace.attempts[-1] = replace(call.trace.attempts[-1], ended_at=time.monotonic(), error="cancelled")
            raise
        return OUTCOME

    async def _play(self, call: Call, script: list[float | Chunk]) -> None:
        for step in script:
            if isinstance(step, Chunk):
                await call.reply.send(step)
            else:
                await asyncio.sleep(step)


class SlowClient(Collected):
    """A client that takes ``seconds`` for each chunk and for the head."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def open(self, head: Head) -> None:
        await asyncio.sleep(self._seconds)
        await super().open(head)

    async def send(self, chunk: Chunk) -> None:
        await asyncio.sleep(self._seconds)
        await super().send(chunk)


def timeout(**settings: float) -> Timeout:
    return Timeout.model_validate({"kind": "timeout", "first_content_s": 5, "idle_s": 3, "answer_s": 60, **settings})


def asked(*, stream: bool, **changes: Any) -> Call:
    return fake_call(stream=stream, ports=fake_ports(routes=FakeRoutes(fake_model("gpt-4o"))), **changes)


def test_no_content_in_time_is_a_timeout_of_the_upstream() -> None:
    upstream, call = Upstream([2.0, PRELUDE, 9.0]), asked(stream=True)

    async def main() -> None:
        with pytest.raises(UpstreamTimeout, match="no content within 5 s"):
            await chain([timeout()], upstream)(call)

    assert leaping(main()) >= 5
    assert upstream.cut == 1


def test_the_attempt_is_told_as_what_it_was() -> None:
    call = asked(stream=True)

    async def main() -> None:
        with pytest.raises(UpstreamTimeout):
            await chain([timeout()], Upstream([9.0]))(call)

    leaping(main())
    (attempt,) = call.trace.attempts
    assert attempt.error == "upstream_timeout"
    assert attempt.repeatable
    assert isinstance(call.ports.routes, FakeRoutes)
    assert call.ports.routes.reported == [attempt]


def test_a_whole_answer_has_its_own_longer_time() -> None:
    call = asked(stream=False)
    leaping(_answered(call, Upstream([59.0, BODY])))

    async def main() -> None:
        with pytest.raises(UpstreamTimeout, match="no answer within 60 s"):
            await chain([timeout()], Upstream([61.0, BODY]))(asked(stream=False))

    leaping(main())


async def _answered(call: Call, upstream: Upstream) -> None:
    assert await chain([timeout()], upstream)(call) is OUTCOME


def test_each_chunk_starts_the_clock_again() -> None:
    passed = leaping(_answered(asked(stream=True), Upstream([4.9, CONTENT, 2.9, CONTENT, 2.9, CONTENT, 2.9])))
    assert passed == pytest.approx(13.6)


def test_silence_after_content_breaks_the_answer_and_is_not_retried() -> None:
    upstream, call = Upstream([1.0, CONTENT, 3.1, CONTENT], [CONTENT]), asked(stream=True)

    async def main() -> None:
        with pytest.raises(UpstreamBroke, match="silent for 3 s"):
            await chain([Retry(kind="retry"), timeout()], upstream)(call)

    leaping(main())
    assert call.trace.attempts[-1].error == "upstream_broke"
    assert len(upstream.scripts) == 1


def test_a_silent_upstream_is_left_for_another_attempt() -> None:
    upstream, call = Upstream([99.0], [1.0, CONTENT]), asked(stream=True)

    async def main() -> None:
        assert await chain([Retry(kind="retry"), timeout()], upstream)(call) is OUTCOME

    leaping(main())
    assert [attempt.error for attempt in call.trace.attempts] == ["upstream_timeout", None]


def test_a_slow_client_is_not_the_upstreams_silence() -> None:
    client = SlowClient(seconds=500.0)
    leaping(_answered(asked(stream=True, reply=client), Upstream([1.0, CONTENT, CONTENT, 1.0, CONTENT])))
    assert len(client.chunks) == 3


def test_a_slow_client_at_the_head_is_not_either() -> None:
    call = asked(stream=True, reply=SlowClient(seconds=500.0))

    async def opening(call: Call) -> Outcome:
        await call.reply.open(HEAD)
        await call.reply.send(CONTENT)
        return OUTCOME

    async def main() -> None:
        assert await chain([timeout()], opening)(call) is OUTCOME

    leaping(main())


@pytest.mark.parametrize("cut", [Cut.GONE, Cut.DEADLINE, None])
def test_a_cancellation_from_outside_stays_one(cut: Cut | None) -> None:
    upstream, reply = Upstream([4.0, CONTENT]), Collected()
    call = asked(stream=True, reply=reply)

    async def main() -> None:
        task = asyncio.ensure_future(chain([timeout()], upstream)(call))
        await asyncio.sleep(1)
        reply.cut = cut
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    leaping(main())
    assert call.trace.attempts[-1].error == "cancelled"


def test_a_cancellation_in_the_same_moment_as_the_timeout_is_still_one() -> None:
    call = asked(stream=True)

    async def main() -> None:
        task = asyncio.ensure_future(chain([timeout()], Upstream([99.0]))(call))
        asyncio.get_running_loop().call_later(5.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    leaping(main())


def test_a_timeout_error_of_somebody_elses_is_not_taken_for_ours() -> None:
    async def failing(call: Call) -> Outcome:
        raise TimeoutError("a socket's")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="a socket's"):
            await chain([timeout()], failing)(asked(stream=True))

    leaping(main())


def test_an_error_raised_while_being_cut_passes_as_it_is() -> None:
    async def failing(call: Call) -> Outcome:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            raise UpstreamUnavailable("reset while closing") from None
        return OUTCOME

    async def main() -> None:
        with pytest.raises(UpstreamUnavailable, match="reset while closing"):
            await chain([timeout()], failing)(asked(stream=True))

    leaping(main())


def test_an_answer_that_is_complete_is_one_whatever_its_connection_does() -> None:
    call = asked(stream=True)

    async def lingering(call: Call) -> Outcome:
        await call.reply.send(CONTENT)
        call.trace.outcome = OUTCOME
        await asyncio.sleep(99)
        return OUTCOME

    async def main() -> None:
        assert await chain([timeout()], lingering)(call) is OUTCOME

    leaping(main())
    assert call.trace.attempts == []
