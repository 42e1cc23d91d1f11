"""Reading beside the proxy that writes."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from proxy.errors import JournalUnavailable
from proxy.journal.port import Balance
from proxy.journal.reader import SqliteReader
from proxy.journal.sqlite import open_sqlite, read_only
from tests.journal.contract import USER, answered, fresh_database, reserve


async def test_a_reader_sees_each_commit_of_a_running_writer(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await open_sqlite(path, durability="relaxed", owner="me")
    async with read_only(path) as reader:
        assert await reader.balance(USER) is None
        await store.reserve(reserve("c1"))
        assert await reader.balance(USER) == Balance(account=USER, plan="free", balance=25, held=10)
        await store.close(answered("c1"))
        row = await reader.call("c1")
    assert row is not None
    assert (row["state"], row["points_charged"]) == ("closed", 10)
    await store.aclose()


async def test_a_reader_reads_what_a_killed_writer_left_in_the_log(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await open_sqlite(path, durability="relaxed", owner="me")
    await store.reserve(reserve("c1"))
    copied = tmp_path / "copy.db"
    for end in ("", "-wal"):
        copied.with_name(copied.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
    await store.aclose()
    async with read_only(copied) as reader:
        assert await reader.balance(USER) == Balance(account=USER, plan="free", balance=25, held=10)


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    reader = SqliteReader(fresh_database(tmp_path))
    connection = await reader._short._connect()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await connection.execute("DELETE FROM accounts")
    await connection.close()


async def test_a_file_that_cannot_be_read_is_unavailable_until_it_can(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    away = path.rename(tmp_path / "away.db")
    reader = SqliteReader(path)
    for ask in (reader.balance(USER), reader.keys(), reader.verify()):
        with pytest.raises(JournalUnavailable):
            await ask
    away.rename(path)
    assert await reader.balance(USER) is None
    await reader.aclose()


async def test_many_readers_at_once_share_one_connection(tmp_path: Path) -> None:
    reader = SqliteReader(fresh_database(tmp_path))
    assert await asyncio.gather(*(reader.balance(USER) for _ in range(50))) == [None] * 50
    await reader.aclose()


async def test_a_reader_whose_task_was_cancelled_reads_on_for_others(tmp_path: Path) -> None:
    reader = SqliteReader(fresh_database(tmp_path))
    async with asyncio.TaskGroup() as group:
        for ticks in range(6):
            task = group.create_task(reader.balance(USER))
            for _ in range(ticks):
                await asyncio.sleep(0)
            task.cancel()
    assert await reader.balance(USER) is None
    await reader.aclose()
