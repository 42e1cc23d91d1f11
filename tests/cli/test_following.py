"""Following calls live: each once, when it has ended, whatever ran when it began."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.following import Follower
from proxy.journal.listing import CallFilter
from proxy.journal.sqlite import read_only
from proxy.tasks import beside
from tests.cli.ledger_parts import Ledger, call_id, written

EVERY_S = 0.01
WAIT_S = 30


@pytest.fixture
async def ledger(tmp_path: Path, migrated: Path) -> AsyncIterator[Ledger]:
    shutil.copytree(migrated, tmp_path / "data")
    async with written(tmp_path / "data/orch.db") as ledger:
        yield ledger


class Told:
    """What a follower tells, as it comes."""

    def __init__(self) -> None:
        self._ids: asyncio.Queue[str] = asyncio.Queue()

    async def follow(self, database: Path, follower: Follower) -> None:
        async with read_only(database) as reader:
            async for row in follower.rows(reader):
                self._ids.put_nowait(row["id"])

    async def next(self, count: int = 1) -> list[str]:
        async with asyncio.timeout(WAIT_S):
            return [await self._ids.get() for _ in range(count)]


@asynccontextmanager
async def following(folder: Path, wanted: CallFilter | None = None, last: int = 10) -> AsyncIterator[Told]:
    told = Told()
    follower = Follower(wanted or CallFilter(), every_s=EVERY_S, last=last)
    async with beside() as tasks:
        tasks.start(told.follow(folder / "data/orch.db", follower))
        yield told


async def test_it_begins_with_the_last_that_have_ended(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(1, 5):
        await ledger.answered(number)
    async with following(tmp_path, last=2) as told:
        assert await told.next(2) == [call_id(3), call_id(4)]
        await ledger.answered(5)
        assert await told.next() == [call_id(5)]


async def test_a_call_is_told_when_it_has_ended_not_when_it_begins(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.begin(1)  # runs already when the following begins
    async with following(tmp_path) as told:
        await ledger.begin(2)
        await ledger.answered(3)
        assert await told.next() == [call_id(3)]
        await ledger.refused(4)
        assert await told.next() == [call_id(4)]
        await ledger.end(2)
        assert await told.next() == [call_id(2)]
        await ledger.end(1, "failed")
        assert await told.next() == [call_id(1)]


async def test_a_call_with_a_smaller_id_that_is_written_later_is_not_missed(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.answered(9)
    async with following(tmp_path, last=1) as told:
        assert await told.next() == [call_id(9)]
        await ledger.answered(1)
        assert await told.next() == [call_id(1)]
        await ledger.answered(10)
        assert await told.next() == [call_id(10)]


async def test_only_the_wanted_ones_are_told(ledger: Ledger, tmp_path: Path) -> None:
    async with (
        following(tmp_path, CallFilter(account="app/ben")) as of_ben,
        following(tmp_path, CallFilter(how="failed")) as failed,
        following(tmp_path, CallFilter(error="model_not_found")) as refused,
    ):
        await ledger.answered(1)
        await ledger.refused(2)
        await ledger.begin(3)
        await ledger.end(3, "failed")
        await ledger.answered(4, "ben")
        assert await of_ben.next() == [call_id(4)]
        assert await failed.next() == [call_id(3)]
        assert await refused.next() == [call_id(2)]


async def test_more_calls_than_a_page_are_all_told(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.cli.following.PAGE_ROWS_MAX", 2)
    for number in (1, 2, 3):
        await ledger.begin(number)
    async with following(tmp_path) as told:
        for number in range(4, 9):
            await ledger.answered(number)
        await ledger.end(2)
        await ledger.end(3)
        assert sorted(await told.next(7)) == [call_id(number) for number in range(2, 9)]
        await ledger.answered(10)
        assert await told.next() == [call_id(10)]
