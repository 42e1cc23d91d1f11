"""``orch check``: what is configured, or every problem on a line of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Orch


def test_a_good_configuration_is_counted(orch: Orch) -> None:
    ran = orch("check")
    assert ran.code == 0
    assert ran.out.startswith("ok: ")
    assert "policy version " in ran.out
    answer = json.loads(orch("check", "--json").out)
    assert answer["ok"] is True
    assert answer["models"] > 0


def test_every_problem_is_told_with_its_place(orch: Orch) -> None:
    Path("config.yaml").write_text("stor: sqlite:///x.db\ndurability: maybe\n")
    ran = orch("check")
    assert ran.code == 1
    assert ran.out == ""
    places = [line.split(" ")[0] for line in ran.err.splitlines()]
    assert len(places) == 2
    assert all("config.yaml:" in place for place in places)
    answer = json.loads(orch("check", "--json").out)
    assert answer["ok"] is False
    assert len(answer["problems"]) == 2


def test_a_file_that_is_not_there_is_a_problem(orch: Orch) -> None:
    ran = orch("check", "--config", "nope.yaml")
    assert ran.code == 1
    assert "nope.yaml" in ran.err


def test_nothing_is_made_by_checking(orch: Orch, tmp_path: Path) -> None:
    Path("config.yaml").write_text("store: sqlite:///fresh/x.db\n")
    assert orch("check").code == 0
    assert not (tmp_path / "fresh").exists()
