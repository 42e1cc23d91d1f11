"""The budget of repeats: a fifth of the calls, at least one a second, never saved up without end."""

from __future__ import annotations

from proxy.route.budget import REPEATS_MAX, RepeatBudget


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def emptied(clock: Clock) -> RepeatBudget:
    budget = RepeatBudget(clock)
    while budget.take():
        pass
    return budget


def taken(budget: RepeatBudget, tries: int) -> int:
    return sum(budget.take() for _ in range(tries))


def test_a_new_one_has_some_so_that_the_first_calls_can_repeat() -> None:
    assert 3 <= taken(RepeatBudget(Clock()), 1_000) <= REPEATS_MAX


def test_it_gives_one_a_second_to_those_who_make_few_calls() -> None:
    clock = Clock()
    budget = emptied(clock)
    given = 0
    for _ in range(60):
        clock.now += 1
        given += budget.take()
    assert 48 <= given <= 60  # each repeat is a call too, and pays for itself in advance


def test_a_fifth_of_the_calls_may_repeat_and_repeats_earn_no_repeats() -> None:
    budget = emptied(Clock())
    repeats = 0
    for _ in range(1_000):
        budget.called()
        while budget.take():
            repeats += 1
            budget.called()  # the repeat is reported like any attempt
    assert 195 <= repeats <= 201


def test_an_idle_night_saves_no_storm() -> None:
    clock = Clock()
    budget = emptied(clock)
    clock.now += 86_400
    for _ in range(100_000):
        budget.called()
    assert taken(budget, 1_000) <= REPEATS_MAX
