"""The table: which deployments of a model are left to ask, and which models can do what a request needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.call import Attempt, Deployment, Model, Needs
from proxy.route.budget import RepeatBudget
from proxy.route.health import FAILURES_MAX, Health
from proxy.route.table import Table
from proxy.testing import fake_model


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


GPT = fake_model("gpt-4o", "a/gpt", "b/gpt", "c/gpt")
SAME_PLACE = fake_model("other-name", "a/gpt")


def table(*models: Model, health: Health | None = None, budget: RepeatBudget | None = None) -> Table:
    known = {model.name: model for model in models or (GPT, SAME_PLACE)}
    clock = Clock()
    return Table(known, health or Health(clock), budget or RepeatBudget(clock))


def attempt(place: Deployment, error: str | None = None) -> Attempt:
    return Attempt(model="gpt-4o", deployment=place, started_at=0.0, ended_at=0.0, error=error)


def test_deployments_are_asked_in_the_operators_order() -> None:
    assert [place.upstream for place in table().untried("gpt-4o", [])] == ["a", "b", "c"]


def test_what_this_call_tried_is_left_out_under_any_models_name() -> None:
    routes = table()
    tried = [attempt(GPT.deployments[0])]
    assert [place.upstream for place in routes.untried("gpt-4o", tried)] == ["b", "c"]
    assert routes.untried("other-name", tried) == ()


def test_what_is_out_of_order_is_left_out_and_stays_so_after_a_reload() -> None:
    health = Health(Clock())
    before = table(health=health)
    for _ in range(FAILURES_MAX):
        before.report(attempt(GPT.deployments[1], "upstream_unavailable"))
    after = table(health=health)
    assert [place.upstream for place in after.untried("gpt-4o", [])] == ["a", "c"]


@pytest.mark.parametrize(
    ("lacks", "needs", "fits"),
    [
        ((), Needs(vision=True, audio=True, tools=True, schema=True), True),
        (("vision",), Needs(), True),
        (("vision",), Needs(vision=True), False),
        (("audio",), Needs(vision=True), True),
        (("tools", "schema"), Needs(schema=True), False),
    ],
)
def test_a_model_fits_unless_it_is_known_to_lack_what_is_needed(
    lacks: tuple[str, ...], needs: Needs, fits: bool
) -> None:
    assert table(replace(GPT, lacks=frozenset(lacks))).fits("gpt-4o", needs) is fits


def test_an_input_too_long_for_the_model_does_not_fit() -> None:
    routes = table(replace(GPT, input_tokens_max=100))
    assert routes.fits("gpt-4o", Needs(input_tokens=100))
    assert not routes.fits("gpt-4o", Needs(input_tokens=101))


def test_a_model_that_is_not_there_fits_nothing() -> None:
    assert not table().fits("nobody", Needs())


def test_attempts_that_ended_pay_for_repeats_and_a_cut_one_does_not() -> None:
    budget = RepeatBudget(Clock())
    while budget.take():
        pass
    routes = table(budget=budget)
    for _ in range(50):
        routes.report(replace(attempt(GPT.deployments[0]), ended_at=None))
        routes.report(attempt(GPT.deployments[0], "cancelled"))
    assert not routes.may_repeat()
    for _ in range(6):
        routes.report(attempt(GPT.deployments[0]))
    assert routes.may_repeat()
