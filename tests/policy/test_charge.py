"""The charge table, row by row."""

from __future__ import annotations

from typing import Literal

import pytest

from proxy.call import Ending, How
from proxy.policy.charge import Tariff
from tests.policy.policy_parts import models, price_list


def tariff(
    *, on_partial: Literal["free", "full"] = "free", on_unknown: Literal["release", "charge"] = "release"
) -> Tariff:
    return Tariff(
        action="ai_message",
        prices=price_list(),
        models=models("gpt-4o", "gpt-4o-mini"),
        on_partial=on_partial,
        on_unknown=on_unknown,
    )


ROWS = {
    How.ANSWERED: 10,
    How.FAILED: 0,
    How.BROKEN: 0,
    How.OVERDUE: 10,
    How.STALLED: 10,
    How.LEFT_BEFORE: 0,
    How.LEFT_AFTER: 10,
    How.SHUTDOWN: 0,
    How.NOT_RECORDED: 0,
    How.UNKNOWN: 0,
}


def test_the_table_has_a_row_for_every_ending() -> None:
    assert set(ROWS) == set(How)


@pytest.mark.parametrize("how", ROWS)
def test_what_an_ending_costs(how: How) -> None:
    assert tariff()(Ending(how, "gpt-4o")) == ROWS[how]


@pytest.mark.parametrize("how", ROWS)
def test_a_choice_of_the_operator_changes_its_own_row_only(how: How) -> None:
    generous = {**ROWS, How.BROKEN: 10}
    assert tariff(on_partial="full")(Ending(how, "gpt-4o")) == generous[how]
    strict = {**ROWS, How.UNKNOWN: 10}
    assert tariff(on_unknown="charge")(Ending(how, "gpt-4o")) == strict[how]


def test_charged_is_the_price_of_the_model_that_answered() -> None:
    assert tariff()(Ending(How.ANSWERED, "gpt-4o-mini")) == 3


@pytest.mark.parametrize("how", How)
def test_nobodys_content_costs_nothing(how: How) -> None:
    assert tariff(on_partial="full", on_unknown="charge")(Ending(how, None)) == 0
