"""A backup is a whole, verified ledger or it is not there."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.errors import BadRequest, OrchError
from proxy.journal.backup import BackupFailed, back_up
from proxy.journal.listing import CallFilter
from proxy.journal.port import Balance
from proxy.journal.sqlite import SqliteStore, open_sqlite, read_only
from tests.journal.contract import USER, answered, fresh_database, offer, reserve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return fresh_database(tmp_path)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = await open_sqlite(path, durability="relaxed", owner="me")
    yield made
    await made.aclose()


async def called(store: SqliteStore, call_id: str) -> None:
    await store.reserve(reserve(call_id, offer(0)))
    await store.close(answered(call_id, 0))


def fill(path: Path, megabytes: int) -> None:
    """Make the ledger large, with texts of configurations."""
    with closing(sqlite3.connect(path)) as connection:
        for n in range(megabytes):
            connection.execute("INSERT INTO policy_versions VALUES (?, hex(zeroblob(524288)), 1)", (f"v{n}",))
        connection.commit()


def beside(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


async def test_a_copy_holds_what_was_committed_also_what_is_in_the_log(store: SqliteStore, path: Path) -> None:
    await store.reserve(reserve("c1"))
    await store.close(answered("c1"))
    to = path.with_name("copy.db")
    copied = await back_up(path, to)
    assert copied.to == to
    assert copied.size_bytes == to.stat().st_size > 0
    assert copied.log_bytes > 0
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    async with read_only(to) as reader:
        assert await reader.balance(USER) == Balance(account=USER, plan="free", balance=15, held=0)
        assert await reader.verify() == []
    assert beside(path) - {"copy.db-wal", "copy.db-shm"} == {"orch.db", "orch.db-wal", "orch.db-shm", "copy.db"}


async def test_a_copy_is_a_ledger_that_can_be_opened_and_used(path: Path) -> None:
    to = path.with_name("copy.db")
    await back_up(path, to)
    store = await open_sqlite(to, durability="relaxed", owner="me")
    await called(store, "c1")
    assert await store.verify() == []
    await store.aclose()


async def test_it_is_one_snapshot_and_ends_while_calls_go_on(store: SqliteStore, path: Path) -> None:
    fill(path, 24)
    await called(store, "before")
    to, copying, told = path.with_name("copy.db"), threading.Event(), threading.Event()

    def progress(copied: int, pages: int) -> None:
        copying.set()
        told.wait(10)

    backup = asyncio.get_running_loop().create_task(back_up(path, to, progress=progress))
    await asyncio.to_thread(copying.wait, 10)
    for n in range(50):
        await called(store, f"meanwhile{n}")
    told.set()
    await backup
    async with read_only(to) as reader:
        assert [row["id"] for row in await reader.calls(CallFilter())] == ["before"]
        assert await reader.verify() == []


async def test_a_file_that_exists_is_never_replaced(path: Path) -> None:
    to = path.with_name("precious")
    to.write_text("precious")
    with pytest.raises(BadRequest, match="never replaces"):
        await back_up(path, to)
    assert to.read_text() == "precious"
    dangling = path.with_name("link")
    dangling.symlink_to(path.with_name("nowhere"))
    with pytest.raises(BadRequest, match="never replaces"):
        await back_up(path, dangling)
    assert beside(path) == {"orch.db", "precious", "link"}


async def test_a_file_that_appears_meanwhile_is_not_replaced_either(path: Path) -> None:
    to = path.with_name("copy.db")

    def progress(copied: int, pages: int) -> None:
        to.write_text("precious")

    with pytest.raises(BadRequest, match="never replaces"):
        await back_up(path, to, progress=progress)
    assert to.read_text() == "precious"
    assert beside(path) == {"orch.db", "copy.db"}


@pytest.mark.parametrize(("to", "words"), [("copy.db", "absolute path"), ("/proc/no/copy.db", "cannot be written")])
async def test_a_place_that_cannot_be_is_refused_in_words(path: Path, to: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        await back_up(path, Path(to))


async def test_one_that_is_stopped_half_way_leaves_nothing_and_stops_at_once(path: Path) -> None:
    fill(path, 24)
    copying, seen = threading.Event(), []

    def progress(copied: int, pages: int) -> None:
        seen.append(copied)
        copying.set()

    backup = asyncio.get_running_loop().create_task(back_up(path, path.with_name("copy.db"), progress=progress))
    await asyncio.to_thread(copying.wait, 10)
    backup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await backup
    assert beside(path) == {"orch.db"}
    assert len(seen) < 6


async def test_books_that_are_not_in_order_are_not_copied_silently(path: Path, store: SqliteStore) -> None:
    await called(store, "c1")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE accounts SET balance = balance + 1")
    with pytest.raises(BackupFailed, match="not in order"):
        await back_up(path, path.with_name("copy.db"))
    assert not path.with_name("copy.db").exists()


async def test_a_damaged_ledger_is_told_and_not_kept_as_a_backup(path: Path) -> None:
    fill(path, 2)
    content = bytearray(path.read_bytes())
    content[-400_000:-399_000] = bytes(1000)
    content[8192:8292] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(OrchError):
        await back_up(path, path.with_name("copy.db"))
    assert beside(path) - {"orch.db-wal", "orch.db-shm"} == {"orch.db"}


async def test_a_full_disk_leaves_no_half_copy(path: Path) -> None:
    with pytest.raises(OrchError):
        await back_up(path, Path("/dev/full/copy.db"))


async def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OrchError):
        await back_up(tmp_path / "none.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
