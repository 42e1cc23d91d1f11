"""``orch init``: a configuration that is whole, written only where nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.config import load
from proxy.config.files import packaged_config
from tests.cli.conftest import Orch

FILES = ("config.yaml", "policies/default.yaml", "policies/energy.yaml")


def test_what_is_written_passes_check_and_says_what_is_next(orch: Orch) -> None:
    ran = orch("init")
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if line.startswith("wrote ")] == [f"wrote {name}" for name in FILES]
    assert "orch serve" in ran.out
    assert orch("check").code == 0


def test_it_is_commented_and_the_same_as_having_none(orch: Orch, tmp_path: Path) -> None:
    without = load(None, {})
    orch("init")
    assert load(None, {}).config == without.config
    assert load(None, {}).policy_version == without.policy_version
    assert sum(line.startswith("#") for line in (tmp_path / "config.yaml").read_text().splitlines()) > 5
    assert (tmp_path / "config.yaml").read_text() == packaged_config().read_text()


def test_a_directory_is_made_and_named_in_what_is_next(orch: Orch) -> None:
    ran = orch("init", "deep/er")
    assert ran.code == 0
    assert "orch serve --config deep/er/config.yaml" in ran.out
    assert orch("check", "--config", "deep/er/config.yaml").code == 0


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_overwritten_and_nothing_half_written(orch: Orch, tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    ran = orch("init")
    assert ran.code == 2
    assert there in ran.err
    assert "nothing was written" in ran.err
    assert (tmp_path / there).read_text() == "mine"
    assert [name for name in FILES if (tmp_path / name).exists()] == [there]


def test_a_link_to_nowhere_is_something_too(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to(tmp_path / "gone")
    assert orch("init").code == 2


@pytest.mark.parametrize(
    ("place", "says"), [("file", "file exists"), ("file/sub", "not a directory"), ("/proc/x", "/proc/x")]
)
def test_a_place_that_is_none_is_one_line(orch: Orch, tmp_path: Path, place: str, says: str) -> None:
    (tmp_path / "file").write_text("")
    ran = orch("init", place)
    assert ran.code == 1
    assert says in ran.err


def test_in_json_the_files_are_named(orch: Orch) -> None:
    assert json.loads(orch("init", "new", "--json").out) == {"written": [f"new/{name}" for name in FILES]}
