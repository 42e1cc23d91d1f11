"""What cannot be right in a price list is found at load, with its place and what to do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from proxy.call import Operation
from proxy.policy.base import Finding
from proxy.policy.pricecheck import class_misfits
from proxy.testing import fake_model
from tests.policy.policy_parts import PRICES, models, price_list

MODELS = models("gpt-4o", "gpt-4o-mini")


def found(changes: dict[str, Any], *, drop: str = "") -> list[Finding]:
    prices = deepcopy(PRICES)
    for key, value in changes.items():
        prices[key] = value
    prices.pop(drop, None)
    return list(price_list(**prices).problems(MODELS))


def actions(**changes: dict[str, int]) -> dict[str, Any]:
    return {"actions": {**PRICES["actions"], **changes}}


def test_a_list_that_fits_has_no_problems() -> None:
    assert found({}) == []


def test_classes_need_no_listing_if_the_models_have_them() -> None:
    known = {"a": fake_model("a", class_="premium"), "b": fake_model("b", class_="economy")}
    prices = price_list(classes={}, downgrade={"premium": ["b"]})
    assert list(prices.problems(known)) == []


@pytest.mark.parametrize(
    ("changes", "spot", "message"),
    [
        (
            actions(ai_scan={"premium": 15}),
            ("actions", "ai_scan"),
            "no price for class 'economy': add `economy: <points>`",
        ),
        (
            actions(ai_scan={"premium": 15, "econmy": 5}),
            ("actions", "ai_scan", "econmy"),
            "no class named 'econmy'; did you mean 'economy'?",
        ),
        (
            actions(ai_scan={"premium": 15, "economy": 5, "output_token_max": 9}),
            ("actions", "ai_scan", "output_token_max"),
            "no class named 'output_token_max'; did you mean 'output_tokens_max'?",
        ),
        (
            {"default_class": "premum"},
            ("default_class",),
            "class 'premum', which no action has a price for; did you mean 'premium'?",
        ),
        (
            {"classes": {"economy": ["*-mini"], "premiun": []}},
            ("classes", "premiun"),
            "class 'premiun', which no action has a price for; did you mean 'premium'?",
        ),
        (
            {"classes": {"economy": ["*-mini", "a"], "premium": ["a"]}},
            ("classes", "premium", 0),
            "'a' is listed already, as economy: list it once",
        ),
        (
            {"default_action": "ai_mesage"},
            ("default_action",),
            "no action named 'ai_mesage'; did you mean 'ai_message'?",
        ),
        ({"embeddings_action": "zzz"}, ("embeddings_action",), "no action named 'zzz': known are ai_message, ai_scan"),
        ({"default_plan": "fre"}, ("default_plan",), "no plan named 'fre'; did you mean 'free'?"),
        ({"downgrade": {"premum": []}}, ("downgrade", "premum"), "no class named 'premum'; did you mean 'premium'?"),
        (
            {"downgrade": {"premium": ["gpt-4o-mini", "gpt-4o"]}},
            ("downgrade", "premium", 1),
            "'gpt-4o' is of class 'premium', which no action prices below 'premium'",
        ),
    ],
)
def test_a_slip_is_told_once_where_it_stands(changes: dict[str, Any], spot: tuple[Any, ...], message: str) -> None:
    assert found(changes) == [(spot, message)]


def test_a_downgrade_to_a_model_that_is_not_configured_is_no_mistake() -> None:
    assert found({"downgrade": {"premium": ["some-mini"]}}) == []


def test_a_downgrade_to_an_embeddings_model_is_one() -> None:
    known = {**MODELS, "embed": fake_model("embed", operation=Operation.EMBEDDINGS)}
    prices = price_list(downgrade={"premium": ["embed"]})
    assert [spot for spot, _ in prices.problems(known)] == [("downgrade", "premium", 0)]


def test_a_models_own_class_that_nothing_prices_is_told() -> None:
    known = {**MODELS, "big": fake_model("big", class_="premuim")}
    assert list(price_list().problems(known)) == []
    (finding,) = class_misfits(price_list(), known)
    assert finding == (
        ("models", "big", "class"),
        "the model is of class 'premuim', which no action has a price for; did you mean 'premium'?",
    )
