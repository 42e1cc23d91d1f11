"""What is said of a ledger's files, whoever holds it; and bringing one up to date by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.journal import lock
from proxy.journal.sqlite import open_sqlite
from proxy.journal.status import Upgraded, status, upgrade
from proxy.journal.upgrade import VERSIONS
from tests.journal.contract import answered, fresh_database, offer, reserve
from tests.journal.test_upgrade import first_ledger


async def test_a_ledger_in_use_tells_its_sizes_its_rows_and_its_holder(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    with lock.locked(path, socket=None, owner="proxy-1"):
        store = await open_sqlite(path, durability="relaxed", owner="me")
        await store.reserve(reserve("c1", offer(1)))
        await store.close(answered("c1", 1))
        found = await status(path)
        await store.aclose()
    assert (found.schema, found.own_schema, found.path) == (VERSIONS[-1], VERSIONS[-1], path)
    assert found.size_bytes == path.stat().st_size
    assert found.log_bytes > 0
    assert found.totals is not None
    assert (found.totals.calls, found.totals.entries, found.totals.accounts) == (1, 2, 1)
    assert found.holder is not None
    assert found.holder.owner == "proxy-1"


async def test_where_there_is_no_ledger_there_is_nothing(tmp_path: Path) -> None:
    found = await status(tmp_path / "orch.db")
    assert (found.schema, found.size_bytes, found.log_bytes, found.totals, found.holder) == (None, 0, 0, None, None)
    assert list(tmp_path.iterdir()) == []


async def test_an_older_ledger_is_told_and_brought_up(tmp_path: Path) -> None:
    path = first_ledger(tmp_path / "orch.db")
    found = await status(path)
    assert (found.schema, found.totals) == ("0001", None)
    assert await upgrade(path) == Upgraded("0001", VERSIONS[-1])
    assert (await status(path)).schema == VERSIONS[-1]
    assert await upgrade(path) == Upgraded(VERSIONS[-1], VERSIONS[-1])


async def test_a_ledger_in_use_is_not_brought_up(tmp_path: Path) -> None:
    path = first_ledger(tmp_path / "orch.db")
    with lock.locked(path, socket=None, owner="proxy-1"), pytest.raises(lock.StoreLocked, match="proxy-1"):
        await upgrade(path)
    assert (await status(path)).schema == "0001"
