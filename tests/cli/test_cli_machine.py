"""What of the machine would keep the proxy from serving, or from serving safely."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from proxy.cli import machine
from proxy.cli.findings import Finding, Level
from proxy.config.settings import Config, Limits
from proxy.upstream import litellm_library

NOW_S = 1_790_000_000.0


def test_this_python_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.python().level is Level.OK
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert machine.python().level is Level.FAIL


def test_an_sqlite_that_can_corrupt_a_wal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    assert "two writers can corrupt" in machine.sqlite().says
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert "corrupt" not in machine.sqlite().says


@pytest.mark.parametrize(
    ("installed", "level"),
    [
        ("1.106.2", Level.OK),
        ("1.82.7", Level.FAIL),
        ("1.82.8", Level.FAIL),
        ("1.107.0", Level.FAIL),
        ("1.107.5", Level.FAIL),
    ],
)
def test_a_litellm_that_carried_malware_fails(monkeypatch: pytest.MonkeyPatch, installed: str, level: Level) -> None:
    monkeypatch.setattr(litellm_library, "version", lambda name: installed)
    monkeypatch.setattr(machine, "version", lambda name: installed)
    found = machine.litellm()
    assert found.level is level
    assert installed in found.says
    assert bool(found.mend) is (level is Level.FAIL)


def test_without_litellm_other_providers_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(litellm_library, "version", missing)
    assert machine.litellm().level is Level.WARN


def startup(folder: Path, files: Mapping[str, str]) -> list[Finding]:
    for name, text in files.items():
        (folder / name).write_text(text)
    return list(machine.startup_files([folder]))


RUNS = "import os; os.system('true')\n"


def test_code_of_known_tools_and_paths_are_no_finding(tmp_path: Path) -> None:
    files = {"distutils-precedence.pth": RUNS, "paths.pth": "/somewhere\n# import x\n", "x-1.0-nspkg.pth": RUNS}
    (found,) = startup(tmp_path, files)
    assert found.level is Level.OK
    assert "paths.pth" in found.says


def test_code_that_nobody_knows_is_doubted_and_malware_fails(tmp_path: Path) -> None:
    bad, unknown = startup(tmp_path, {"litellm_init.pth": RUNS, "zzz.pth": f"/a\n{RUNS}", "plain.pth": "/b\n"})
    assert (bad.level, unknown.level) == (Level.FAIL, Level.WARN)
    assert "litellm_init.pth" in bad.says
    assert "zzz.pth" in unknown.says


def test_what_cannot_be_read_is_doubted(tmp_path: Path) -> None:
    (tmp_path / "dir.pth").mkdir()
    (found,) = machine.startup_files([tmp_path])
    assert found.level is Level.WARN


def test_the_folders_of_this_python_are_looked_at() -> None:
    assert all(finding.level is Level.OK for finding in machine.startup_files())


@pytest.mark.parametrize(("hard", "level"), [(-1, Level.OK), (99_999, Level.OK), (1500, Level.WARN), (900, Level.FAIL)])
def test_the_limit_of_open_files_is_held_against_the_calls(
    monkeypatch: pytest.MonkeyPatch, hard: int, level: Level
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, resource.RLIM_INFINITY if hard < 0 else hard))
    found = machine.open_files(Config(limits=Limits(calls_max=1000)))
    assert found.level is level
    assert bool(found.mend) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("latest_s", "now_s", "level"),
    [
        (None, NOW_S, Level.OK),
        (NOW_S - 86_400, NOW_S, Level.OK),
        (NOW_S + 0.5, NOW_S, Level.OK),
        (NOW_S + 30, NOW_S, Level.WARN),
        (NOW_S + 3600, NOW_S, Level.FAIL),
        (None, 1_000_000.0, Level.FAIL),
    ],
)
def test_a_clock_behind_the_books_is_wrong(latest_s: float | None, now_s: float, level: Level) -> None:
    assert machine.clock(None if latest_s is None else int(latest_s * 1000), now_s=now_s).level is level
