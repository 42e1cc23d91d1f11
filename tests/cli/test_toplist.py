"""The view of what runs and what just ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxy.cli import toplist
from proxy.cli.toplist import By, Line, Snapshot, Top
from proxy.journal.sqlite import read_only
from tests.cli.ledger_parts import Ledger, call_id, written


async def snapshot(folder: Path, migrated: Path, by: By) -> Snapshot:
    """Eva: two answered, one failed, one running; ben: one refused."""
    shutil.copytree(migrated, folder / "data")
    database = folder / "data/orch.db"
    async with written(database) as ledger, read_only(database) as reader:
        await _some_calls(ledger)
        return await Top(by, window_s=3600).read(reader)


async def _some_calls(ledger: Ledger) -> None:
    for number, ms in ((1, 100), (2, 300)):
        await ledger.begin(number, "eva")
        await ledger.end(number, duration_ms=ms)
    await ledger.begin(3, "eva")
    await ledger.end(3, "failed", model="gpt-4o-mini", duration_ms=50)
    await ledger.begin(4, "eva")
    await ledger.refused(5, "ben")


async def test_calls_are_counted_by_user(tmp_path: Path, migrated: Path) -> None:
    seen = await snapshot(tmp_path, migrated, By.USER)
    assert seen.rows() == [("app/eva", 1, 2, 1, 0, 20, 100, 300), ("app/ben", 0, 0, 0, 1, 0, None, None)]
    assert [row["id"] for row in seen.running] == [call_id(4)]


async def test_calls_are_counted_by_model(tmp_path: Path, migrated: Path) -> None:
    seen = await snapshot(tmp_path, migrated, By.MODEL)
    assert [line.name for line in seen.lines] == ["gpt-4o", "gpt-4o-mini", "gpt-5o"]
    answer = seen.as_object()
    assert answer["running"] == [call_id(4)]
    assert answer["groups"][0] | {"name": "", "ms": 0} == {
        **{"name": "", "running": 1, "answered": 2, "failed": 0, "refused": 0, "points": 20},
        **{"ms": 0, "ms_max": 300},
    }


async def test_only_what_ended_in_the_window_counts(tmp_path: Path, migrated: Path) -> None:
    shutil.copytree(migrated, tmp_path / "data")
    async with written(tmp_path / "data/orch.db") as ledger, read_only(tmp_path / "data/orch.db") as reader:
        await ledger.answered(1)
        assert (await Top(By.MODEL, window_s=-3600).read(reader)).lines == []


async def test_a_window_with_more_calls_than_are_read_is_told_as_cut(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toplist, "PAGE_ROWS_MAX", 2)
    assert not (await snapshot(tmp_path / "a", migrated, By.USER)).cut
    monkeypatch.setattr(toplist, "ROWS_READ_MAX", 2)
    assert (await snapshot(tmp_path / "b", migrated, By.USER)).cut


def test_the_median_is_of_those_that_took_time() -> None:
    assert Line("x").median_ms() is None
    assert Line("x", ms=[5, 1, 9]).median_ms() == 5
