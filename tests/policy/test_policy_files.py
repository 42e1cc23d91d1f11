"""The files that operators start from: exactly the promised prices, sensible classes, an order that works."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from proxy.call import Operation
from proxy.policy import AnyPolicy, PolicyBase, energy_prices, order_problems
from proxy.policy.prices import PriceList
from proxy.route.catalog import Catalog
from tests.policy.policy_parts import models

FOLDER = Path(__file__).parents[2] / "policies"
CHAIN: TypeAdapter[tuple[AnyPolicy, ...]] = TypeAdapter(tuple[AnyPolicy, ...])
TODAY = date(2026, 11, 1)  # what is retired later would make these tests fail by themselves
MOCK = models("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture(scope="module")
def policies() -> tuple[PolicyBase, ...]:
    entries = [
        {**entry, "prices": read(entry["prices"])} if "prices" in entry else entry for entry in read("default.yaml")
    ]
    return CHAIN.validate_python(entries)


@pytest.fixture(scope="module")
def prices(policies: tuple[PolicyBase, ...]) -> PriceList:
    found = energy_prices(policies)
    assert found is not None
    return found


def test_the_default_chain_is_the_documented_one_and_has_no_problems(policies: tuple[PolicyBase, ...]) -> None:
    assert [policy.kind for policy in policies] == ["auth", "rewrite", "energy", "fallback", "retry", "timeout"]
    assert list(order_problems(policies, MOCK)) == []
    assert [finding for policy in policies for finding in policy.problems(MOCK)] == []


def test_the_prices_are_exactly_the_promised_ones(prices: PriceList) -> None:
    assert {name: (action.points["premium"], action.points["economy"]) for name, action in prices.actions.items()} == {
        "ai_message": (10, 3),
        "ai_scan": (15, 5),
        "ai_follow_up_sequence": (50, 15),
        "ai_objection_handler": (10, 3),
        "ai_pitch_deck": (100, 30),
        "ai_chatbot_response": (10, 3),
        "ai_deep_scan": (25, 8),
        "ai_company_analysis": (30, 10),
    }
    assert all(set(action.points) == {"premium", "economy"} for action in prices.actions.values())
    assert prices.default_action_for(Operation.CHAT) == "ai_message"
    assert prices.price("embedding", "text-embedding-3-small", {}) == 0


def test_two_choices_work_out_of_the_box(prices: PriceList) -> None:
    assert prices.actions["ai_message"].n_max == 4
    assert {action.n_max for name, action in prices.actions.items() if name != "ai_message"} == {1}


@pytest.mark.parametrize(
    ("model", "class_"),
    [
        ("gpt-4o", "premium"),
        ("gpt-4o-mini", "economy"),
        ("openai/gpt-4o-mini-2024-07-18", "economy"),
        ("gpt-4.1-nano", "economy"),
        ("gpt-3.5-turbo", "economy"),
        ("gpt-6-luna", "economy"),
        ("gpt-6-sol", "premium"),
        ("o3", "premium"),
        ("claude-haiku-5-5", "economy"),
        ("claude-3-5-haiku-latest", "economy"),
        ("claude-opus-5-5", "premium"),
        ("gemini-2.5-pro", "premium"),  # "mini" is in every gemini
        ("gemini/gemini-2.5-pro", "premium"),
        ("gemini/gemini-flash-latest", "economy"),
        ("mistral-large-latest", "premium"),
        ("mistral-small-latest", "economy"),
        ("command-r-plus-08-2024", "premium"),
        ("llama-3.1-8b-instant", "economy"),
        ("llama-3.3-70b-versatile", "premium"),
        ("something-nobody-listed", "premium"),
    ],
)
def test_todays_models_are_of_the_class_one_would_say(prices: PriceList, model: str, class_: str) -> None:
    assert prices.class_of(model, {}) == class_


def test_nothing_dear_is_economy(prices: PriceList) -> None:
    catalog = Catalog.read(today=TODAY)
    dearest = 0
    for provider in ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai", "cohere", "perplexity"):
        for name in catalog.names(provider):
            facts = catalog.facts(provider, name)
            if facts is not None and prices.class_of(name, {}) == "economy":
                dearest = max(dearest, facts.output_picousd or 0)
    assert 0 < dearest <= 9_000_000  # USD 9 per million tokens of output


def test_every_provider_that_is_found_by_its_key_has_something_to_downgrade_to(prices: PriceList) -> None:
    catalog = Catalog.read(today=TODAY)
    for provider in ("openai", "anthropic", "gemini", "mistral", "deepseek"):
        assert set(prices.downgrade["premium"]) & set(catalog.names(provider)), provider
    assert all(prices.class_of(name, {}) == "economy" for name in prices.downgrade["premium"])
