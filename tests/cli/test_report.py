"""``orch report usage``: added up as asked, in the form asked."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Orch
from tests.cli.ledger_parts import with_calls


@pytest.fixture
def called(orch: Orch, tmp_path: Path) -> Orch:
    with_calls(tmp_path / "data/orch.db")
    return orch


def test_usage_is_added_up_by_what_is_asked(called: Orch) -> None:
    ana, ben = json.loads(called("report", "usage", "--by", "user", "--json").out)
    assert (ana["user"], ana["calls"], ana["answered"], ana["failed"], ana["refused"]) == ("ana", 4, 2, 1, 1)
    assert (ana["points_charged"], ana["cost_nanousd"], ana["output_tokens"]) == (20, 860_000, 120)
    assert (ben["user"], ben["points_charged"]) == ("ben", 10)
    assert [row["model"] for row in json.loads(called("report", "usage", "--by", "model", "--json").out)] == [
        "",
        "gpt-4o",
    ]


def test_in_csv_numbers_are_numbers_and_names_are_no_formulas(called: Orch) -> None:
    called("users", "create", "=cmd()", "--energy", "5")
    rows = list(csv.DictReader(io.StringIO(called("report", "usage", "--by", "user,action", "--csv").out)))
    assert [(row["user"], row["action"], row["points"], row["usd"]) for row in rows] == [
        ("ana", "ai_message", "20", "0.00086"),
        ("ben", "ai_message", "10", "0.00043"),
    ]


def test_in_a_pipe_it_is_separated_by_tabs(called: Orch) -> None:
    header, line = called("report", "usage").out.splitlines()
    shown = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (shown["CALLS"], shown["POINTS"], shown["USD"], shown["USD UNKNOWN"]) == ("5", "30", "0.00129", "0")


def test_a_time_and_an_application_narrow_it(called: Orch) -> None:
    assert json.loads(called("report", "usage", "--until", "2020-01-01", "--json").out) == []
    assert json.loads(called("report", "usage", "--namespace", "shop", "--json").out) == []
    assert len(json.loads(called("report", "usage", "--since", "1h", "--json").out)) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--by", "usr"), "usr"),
        (("--by", ""), "by"),
        (("--csv", "--json"), "choose one"),
        (("--since", "x"), "--since"),
    ],
    ids=str,
)
def test_a_report_that_makes_no_sense_is_refused(called: Orch, options: tuple[str, ...], says: str) -> None:
    ran = called("report", "usage", *options)
    assert ran.code == 2
    assert says in ran.err
