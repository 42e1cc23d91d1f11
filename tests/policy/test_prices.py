"""The price list: whole points only, every class priced, the class of any model, what a balance pays now."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.call import Offer, Opening, Operation
from proxy.errors import BadRequest
from proxy.testing import fake_model
from tests.policy.policy_parts import PRICES, models, price_list


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """PRICES with one value put at ``path``."""
    prices = deepcopy(PRICES)
    node = prices
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return prices


@pytest.mark.parametrize("points", [True, False, 1.5, 10.0, "10", None, -1, 1_000_000_001, float("nan")])
def test_points_are_whole_and_bounded(points: object) -> None:
    with pytest.raises(ValidationError) as caught:
        price_list(**changed(("actions", "ai_scan", "premium"), points))
    assert caught.value.errors()[0]["loc"] == ("actions", "ai_scan", "premium")


@pytest.mark.parametrize("points", [0, 1_000_000_000])
def test_the_ends_of_the_range_are_points(points: int) -> None:
    prices = price_list(**changed(("actions", "ai_scan", "premium"), points))
    assert prices.price("ai_scan", "gpt-4o", {}) == points


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("actions", "ai_scan", "n_max"), 0),
        (("actions", "ai_scan", "n_max"), True),
        (("actions", "ai_scan", "output_tokens_max"), 10.5),
        (("plans", "free", "every"), "month"),
        (("plans", "free", "grant"), "100"),
        (("price",), 1),
        (("plans",), {}),
        (("actions",), {}),
    ],
)
def test_what_it_does_not_know_is_refused(path: tuple[str, ...], value: object) -> None:
    with pytest.raises(ValidationError):
        price_list(**changed(path, value))


@pytest.mark.parametrize(
    ("model", "class_"),
    [
        ("gpt-4o-mini", "economy"),  # by glob
        ("claude-haiku", "economy"),  # by name
        ("gpt-4o", "premium"),  # by default
        ("listed-mini", "premium"),  # its name goes before a glob of another class
        ("own", "economy"),  # config.yaml goes before all
    ],
)
def test_the_class_of_a_model(model: str, class_: str) -> None:
    prices = price_list(classes={"economy": ["*-mini", "claude-haiku"], "premium": ["listed-mini", "own"]})
    known = {"own": fake_model("own", class_="economy")}
    assert prices.class_of(model, known) == class_


def test_of_two_globs_the_first_in_the_file_counts() -> None:
    assert price_list(classes={"economy": ["gpt-*"], "premium": ["gpt-4*"]}).class_of("gpt-4o", {}) == "economy"
    assert price_list(classes={"premium": ["gpt-4*"], "economy": ["gpt-*"]}).class_of("gpt-4o", {}) == "premium"


def test_prices_by_action_and_class() -> None:
    prices = price_list()
    assert prices.price("ai_message", "gpt-4o", {}) == 10
    assert prices.price("ai_message", "gpt-4o-mini", {}) == 3
    assert prices.price("ai_scan", "gpt-4o-mini", {}) == 5


def test_embeddings_cost_nothing_until_they_are_priced() -> None:
    assert price_list().price("embedding", "any", {}) == 0
    priced = price_list(**changed(("actions", "embedding"), {"premium": 2, "economy": 1}))
    assert priced.price("embedding", "any", {}) == 2


def test_chat_may_not_name_the_action_of_embeddings() -> None:
    priced = price_list(**changed(("actions", "embedding"), {"premium": 0, "economy": 0}))
    assert "embedding" not in priced.actions_for(Operation.CHAT)
    assert "embedding" in priced.actions_for(Operation.EMBEDDINGS)
    assert "embedding" in price_list().actions_for(Operation.EMBEDDINGS)
    shared = price_list(embeddings_action="ai_message")
    assert "ai_message" in shared.actions_for(Operation.CHAT)


def test_an_account_opens_with_its_plans_grant() -> None:
    assert price_list().opening() == Opening("free", 100)
    assert price_list().opening("free", 7) == Opening("free", 7)
    with pytest.raises(BadRequest, match="no plan 'gold'; there are free"):
        price_list().opening("gold")


def test_cheaper_offers_leave_out_what_is_not_there_costs_as_much_or_does_not_chat() -> None:
    prices = price_list(downgrade={"premium": ["gone-mini", "embed-mini", "gpt-4o", "gpt-4o-mini", "claude-haiku"]})
    known = models("gpt-4o", "gpt-4o-mini", "claude-haiku", "embed-mini")
    known["embed-mini"] = replace(known["embed-mini"], operation=Operation.EMBEDDINGS)
    offers = prices.cheaper("gpt-4o", action="ai_message", models=known)
    assert offers == (Offer(model="gpt-4o-mini", points=3), Offer(model="claude-haiku", points=3))
    assert prices.cheaper("gpt-4o-mini", action="ai_message", models=known) == ()


@pytest.mark.parametrize(
    ("available", "premium", "economy"), [(10, 10, 3), (9, 3, 3), (3, 3, 3), (2, None, None), (0, None, None)]
)
def test_what_an_action_costs_now(available: int, premium: int | None, economy: int | None) -> None:
    shown = price_list().shown(available=available, models=models("gpt-4o", "gpt-4o-mini"))
    assert shown["default_action"] == "ai_message"
    assert shown["actions"]["ai_message"] == {
        "points": {"economy": 3, "premium": 10},
        "now": {"economy": economy, "premium": premium},
    }
    assert shown["actions"]["embedding"]["now"] == {"economy": 0, "premium": 0}


def test_what_is_shown_knows_of_no_downgrade_to_a_model_that_is_not_there() -> None:
    shown = price_list().shown(available=9, models=models("gpt-4o"))
    assert shown["actions"]["ai_message"]["now"]["premium"] is None
