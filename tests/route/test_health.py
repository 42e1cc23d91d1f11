"""Health: when a breaker opens, for how long, and what closes it. The clock is the test's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.call import Attempt, Deployment
from proxy.route.health import COOLDOWN_S, COOLDOWN_S_MAX, ENTRIES_MAX, FAILURES_MAX, LIMITED_S_MAX, PROBE_S_MAX, Health

HERE = Deployment(upstream="openai", provider="openai", model="gpt-4o")
THERE = replace(HERE, upstream="azure")


class World:
    """A clock that stands until it is moved, and the health that looks at it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.health = Health(lambda: self.now)

    def ended(self, error: str | None, *, started_at: float | None = None, **more: Any) -> None:
        began = self.now if started_at is None else started_at
        attempt = Attempt(model="gpt-4o", deployment=HERE, started_at=began, ended_at=self.now, error=error, **more)
        self.health.record(attempt)

    def begins(self) -> None:
        self.health.record(Attempt(model="gpt-4o", deployment=HERE, started_at=self.now))

    def opened(self) -> World:
        for _ in range(FAILURES_MAX):
            self.ended("upstream_unavailable")
        return self

    @property
    def healthy(self) -> bool:
        return self.health.healthy(HERE)


@pytest.fixture
def world() -> World:
    return World()


def test_it_opens_after_failures_in_a_row_for_this_deployment_only(world: World) -> None:
    for _ in range(FAILURES_MAX - 1):
        world.ended("upstream_timeout")
    assert world.healthy
    world.ended("upstream_timeout")
    assert not world.healthy
    assert world.health.healthy(THERE)


def test_an_answer_between_failures_starts_the_count_again(world: World) -> None:
    for _ in range(FAILURES_MAX - 1):
        world.ended("upstream_unavailable")
    world.ended(None)
    for _ in range(FAILURES_MAX - 1):
        world.ended("upstream_unavailable")
    assert world.healthy


@pytest.mark.parametrize(
    "error", ["upstream_rejected", "context_length_exceeded", "cancelled", "gone", "deadline", "stalled"]
)
def test_what_callers_do_never_opens_it(world: World, error: str) -> None:
    for _ in range(10 * FAILURES_MAX):
        world.ended(error)
    assert world.healthy


def test_an_exhausted_quota_is_a_failure_though_its_status_is_429(world: World) -> None:
    for _ in range(FAILURES_MAX):
        world.ended("upstream_quota_exhausted", status=429, repeatable=False)
    assert not world.healthy


def test_a_rate_limit_cools_for_its_retry_after_only(world: World) -> None:
    world.ended("upstream_rate_limited", status=429, retry_after_s=7.0)
    world.now += 6.9
    assert not world.healthy
    world.now += 0.2
    assert world.healthy


def test_a_shorter_wish_does_not_cut_a_longer_one_short(world: World) -> None:
    world.ended("upstream_rate_limited", status=429, retry_after_s=30.0)
    world.ended("upstream_rate_limited", status=429, retry_after_s=1.0)
    world.now += 29
    assert not world.healthy


def test_rate_limits_without_a_retry_after_do_not_cool(world: World) -> None:
    for _ in range(10 * FAILURES_MAX):
        world.ended("upstream_rate_limited", status=429)
    assert world.healthy


def test_an_absurd_retry_after_is_cut(world: World) -> None:
    world.ended("upstream_rate_limited", status=429, retry_after_s=3_600.0)
    world.now += LIMITED_S_MAX
    assert world.healthy


def test_after_its_cooldown_it_lets_one_probe_through(world: World) -> None:
    world.opened()
    world.now += COOLDOWN_S
    assert world.healthy
    world.begins()
    assert not world.healthy
    world.ended(None)
    assert world.healthy


def test_a_probe_cut_by_its_client_makes_room_for_the_next(world: World) -> None:
    world.opened()
    world.now += COOLDOWN_S
    world.begins()
    world.ended("gone")
    assert world.healthy


def test_a_probe_that_is_never_heard_of_again_makes_room_in_the_end(world: World) -> None:
    world.opened()
    world.now += COOLDOWN_S
    world.begins()
    world.now += PROBE_S_MAX
    assert world.healthy


def test_failed_probes_double_the_cooldown_up_to_its_cap(world: World) -> None:
    world.opened()
    cooldowns = []
    for _ in range(8):
        opened_at = world.now
        while not world.healthy:
            world.now += 0.5
        cooldowns.append(world.now - opened_at)
        world.ended("upstream_unavailable")
    assert cooldowns == [1, 2, 4, 8, 16, COOLDOWN_S_MAX, COOLDOWN_S_MAX, COOLDOWN_S_MAX]


def test_late_failures_of_attempts_from_before_do_not_double_it(world: World) -> None:
    began = world.now
    world.now += 5
    for _ in range(100):
        world.ended("upstream_timeout", started_at=began)
    world.now += COOLDOWN_S
    assert world.healthy


def test_a_good_probe_forgets_everything(world: World) -> None:
    world.opened()
    world.now += COOLDOWN_S
    world.ended(None)
    for _ in range(FAILURES_MAX - 1):
        world.ended("upstream_unavailable")
    assert world.healthy


def test_it_remembers_a_bounded_number_of_deployments(world: World) -> None:
    world.opened()
    for number in range(ENTRIES_MAX):
        place = replace(HERE, upstream=f"u{number}")
        world.health.record(
            Attempt(model="m", deployment=place, started_at=0, ended_at=0, error="upstream_unavailable")
        )
    assert world.healthy  # the oldest was forgotten
