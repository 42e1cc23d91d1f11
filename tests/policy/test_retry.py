"""Retry at work: who is asked, in which order, after which waits, and what is said in the end."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Call, Chunk, Operation, Outcome, Part
from proxy.chain import chain
from proxy.errors import (
    BadRequest,
    DeadlineExceeded,
    OrchError,
    UpstreamBroke,
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.policy.fallback import Fallback
from proxy.policy.retry import Retry
from proxy.policy.steps import CALLS_MAX
from proxy.testing import FakeHold, FakeRoutes, Slept, fake_call, fake_model, fake_ports
from tests.policy.policy_parts import End


def down() -> UpstreamError:
    return UpstreamUnavailable("refused")


def retry(**settings: Any) -> Retry:
    return Retry.model_validate({"kind": "retry", **settings})


class Road:
    """Retry in front of an end that fails as it is told; two deployments of gpt-4o, one of claude."""

    def __init__(self, *steps: UpstreamError | None, routes: FakeRoutes | None = None, **settings: Any) -> None:
        self.end = End(*steps)
        self.slept = Slept()
        self.routes = routes or FakeRoutes(fake_model("gpt-4o", "a/gpt", "b/gpt"), fake_model("claude"))
        self.policy = retry(**settings)
        self.call = fake_call(ports=fake_ports(routes=self.routes, sleep=self.slept))

    async def go(self, *fallbacks: str, **changes: Any) -> Outcome:
        policies = [Fallback(kind="fallback", default=fallbacks), self.policy]
        return await chain(policies, self.end)(self._changed(**changes))

    async def fails(self, *fallbacks: str, **changes: Any) -> OrchError:
        with pytest.raises(OrchError) as caught:
            await self.go(*fallbacks, **changes)
        return caught.value

    def _changed(self, **changes: Any) -> Call:
        return fake_call(**{"ports": self.call.ports, "trace": self.call.trace, **changes})

    @property
    def places(self) -> list[str]:
        return [attempt.deployment.id for attempt in self.call.trace.attempts]


async def test_an_answer_ends_it() -> None:
    road = Road()
    outcome = await road.go("claude")
    assert outcome.model == "gpt-4o"
    assert road.places == ["a/gpt"]
    assert road.slept.seconds == []


async def test_deployments_then_models_then_repeats() -> None:
    road = Road(*[down() for _ in range(9)], attempts_max=5)
    await road.fails("claude")
    assert road.end.asked == ["gpt-4o", "gpt-4o", "claude", "gpt-4o", "claude"]
    assert road.places[:3] == ["a/gpt", "b/gpt", "fake/claude"]
    assert road.slept.seconds == [0.5, 1.0]
    assert road.call.trace.waited_s == 1.5


async def test_three_attempts_are_made_by_default() -> None:
    road = Road(*[down() for _ in range(9)], routes=FakeRoutes(fake_model("gpt-4o")))
    await road.fails()
    assert len(road.places) == 3
    assert road.slept.seconds == [0.5, 1.0]


async def test_one_attempt_means_no_repeat_but_still_the_fallback() -> None:
    road = Road(down(), down(), attempts_max=1)
    assert (await road.go("claude")).model == "claude"
    assert road.slept.seconds == []


async def test_eight_calls_are_never_passed_and_the_fallback_gets_one_of_them() -> None:
    many = fake_model("gpt-4o", *(f"u{number}/gpt" for number in range(20)))
    road = Road(*[down() for _ in range(30)], routes=FakeRoutes(many, fake_model("claude")), attempts_max=8)
    await road.fails("claude")
    assert road.end.asked == ["gpt-4o"] * (CALLS_MAX - 1) + ["claude"]


async def test_a_rejected_request_is_nobodys_to_repeat() -> None:
    rejected = UpstreamRejected("bad schema", status=400)
    road = Road(rejected)
    assert await road.fails("claude") is rejected
    assert len(road.places) == 1


async def test_too_long_for_one_model_goes_to_another_model_not_another_place() -> None:
    too_long = UpstreamRejected("too long", status=400, reason="context_length_exceeded")
    too_long.movable = True
    road = Road(too_long)
    assert (await road.go("claude")).model == "claude"
    assert road.places == ["a/gpt", "fake/claude"]


async def test_a_refused_key_moves_on_and_is_not_repeated() -> None:
    road = Road(UpstreamRefused("key"), UpstreamRefused("key"))
    await road.fails()
    assert road.places == ["a/gpt", "b/gpt"]
    assert road.slept.seconds == []


async def test_once_the_client_has_content_nothing_is_asked_again() -> None:
    road = Road()
    broke = down()

    async def half(call: Call) -> Outcome:
        await call.reply.send(Chunk(b"data: {}\n\n", Part.CONTENT))
        road.end.calls.append(call)
        raise broke

    with pytest.raises(UpstreamUnavailable) as caught:
        await chain([road.policy], half)(road.call)
    assert caught.value is broke
    assert len(road.end.calls) == 1


async def test_a_broken_answer_is_not_asked_again() -> None:
    road = Road(UpstreamBroke("cut"))
    assert isinstance(await road.fails("claude"), UpstreamBroke)
    assert len(road.places) == 1


async def test_errors_that_are_not_the_upstreams_pass_at_once() -> None:
    mistake = BadRequest("no")

    async def refusing(call: Call) -> Outcome:
        raise mistake

    with pytest.raises(BadRequest) as caught:
        await chain([retry()], refusing)(fake_call())
    assert caught.value is mistake


async def test_a_rate_limit_waits_for_its_retry_after() -> None:
    road = Road(UpstreamLimited("slow down", retry_after_s=7.0), routes=FakeRoutes(fake_model("gpt-4o")))
    await road.go()
    (waited,) = road.slept.seconds
    assert 6.5 < waited <= 7.0


async def test_a_retry_after_beyond_the_deadline_takes_the_next_candidate() -> None:
    limited = UpstreamLimited("tomorrow", retry_after_s=3_000.0)
    road = Road(limited, routes=FakeRoutes(fake_model("gpt-4o"), fake_model("claude")))
    assert (await road.go("claude")).model == "claude"
    assert road.slept.seconds == []


async def test_a_retry_after_beyond_the_deadline_gives_up_at_once_with_it() -> None:
    limited = UpstreamLimited("tomorrow", retry_after_s=3_000.0)
    road = Road(limited, routes=FakeRoutes(fake_model("gpt-4o")))
    assert await road.fails() is limited
    assert road.slept.seconds == []


async def test_repeats_need_the_budget_and_moves_do_not() -> None:
    routes = FakeRoutes(fake_model("gpt-4o", "a/gpt", "b/gpt"), repeats=0)
    road = Road(*[down() for _ in range(9)], routes=routes)
    await road.fails()
    assert road.places == ["a/gpt", "b/gpt"]


async def test_with_everything_out_of_order_the_asked_model_is_still_tried() -> None:
    routes = FakeRoutes(fake_model("gpt-4o", "a/gpt"), down=["a/gpt"])
    road = Road(routes=routes)
    assert (await road.go()).model == "gpt-4o"


async def test_with_everything_out_of_order_and_no_budget_nobody_is_asked() -> None:
    routes = FakeRoutes(fake_model("gpt-4o", "a/gpt"), down=["a/gpt"], repeats=0)
    road = Road(routes=routes)
    error = await road.fails()
    assert isinstance(error, UpstreamUnavailable)
    assert "No deployment of 'gpt-4o' is in order" in error.message
    assert road.end.calls == []


async def test_a_dearer_fallback_raises_the_hold_first() -> None:
    hold = FakeHold(10, prices={"claude": 30})
    road = Road(down(), down())
    await road.go("claude", hold=hold)
    assert hold.raised_for == ["claude"]
    assert hold.points == 30


async def test_a_fallback_that_the_balance_does_not_pay_is_skipped() -> None:
    routes = FakeRoutes(fake_model("gpt-4o"), fake_model("claude"), fake_model("gpt-4o-mini"))
    hold = FakeHold(10, prices={"claude": 30}, affordable=20)
    road = Road(down(), routes=routes)
    assert (await road.go("claude", "gpt-4o-mini", hold=hold)).model == "gpt-4o-mini"
    assert road.end.asked == ["gpt-4o", "gpt-4o-mini"]


async def test_no_repeat_is_spent_on_a_model_that_the_balance_does_not_pay() -> None:
    routes = FakeRoutes(fake_model("gpt-4o"), fake_model("claude"), down=["fake/claude"], repeats=5)
    hold = FakeHold(10, prices={"claude": 30}, affordable=20)
    road = Road(UpstreamRefused("key"), routes=routes)
    assert isinstance(await road.fails("claude", hold=hold), UpstreamRefused)
    assert road.end.asked == ["gpt-4o"]
    assert routes.repeats == 5


async def test_the_hold_is_raised_once_for_a_model_that_is_repeated() -> None:
    routes = FakeRoutes(fake_model("gpt-4o"), fake_model("claude"))
    hold = FakeHold(10, prices={"claude": 30})
    road = Road(UpstreamRefused("key"), down(), down(), routes=routes)
    await road.fails("claude", hold=hold)
    assert road.end.asked == ["gpt-4o", "claude", "claude"]
    assert hold.raised_for == ["claude"]


async def test_candidates_of_another_model_are_not_this_calls() -> None:
    """Energy downgraded the call after the edge named its candidates."""
    road = Road()
    await chain([road.policy], road.end)(
        fake_call("claude", ports=road.call.ports, candidates=("gpt-4o",), requested_model="gpt-4o")
    )
    assert road.end.asked == ["claude"]


async def test_embeddings_never_change_model() -> None:
    road = Road(down(), down())
    body = {"model": "gpt-4o", "input": "Hi"}
    call = fake_call(ports=road.call.ports, body=body, operation=Operation.EMBEDDINGS, candidates=("gpt-4o", "claude"))
    await chain([road.policy], road.end)(call)
    assert road.end.asked == ["gpt-4o", "gpt-4o", "gpt-4o"]


async def test_after_the_deadline_nobody_is_asked() -> None:
    road = Road()
    assert isinstance(await road.fails(deadline_at=0.0), DeadlineExceeded)
    assert road.end.calls == []


LIMIT = UpstreamLimited("429", retry_after_s=3_000.0)
KEY = UpstreamRefused("401")
SILENT = UpstreamTimeout("silent")
NOISE = UpstreamUnavailable("reset")
FIVE = UpstreamUnavailable("500", status=500)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ((NOISE, LIMIT), LIMIT),
        ((LIMIT, NOISE), LIMIT),
        ((LIMIT, KEY), LIMIT),
        ((KEY, SILENT), KEY),
        ((SILENT, FIVE), SILENT),
        ((FIVE, NOISE), FIVE),
        ((down(), NOISE), NOISE),  # the latest of equals
    ],
)
async def test_the_most_telling_error_is_told(errors: tuple[UpstreamError, ...], told: UpstreamError) -> None:
    road = Road(*errors, attempts_max=1)
    assert await road.fails() is told
