"""What erasing and pruning leave in the files of the SQLite ledger, and what a crash half way leaves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.call import Role
from proxy.journal.listing import CallFilter
from proxy.journal.listing_sql import first_id
from proxy.journal.port import Bodies, Erasing, KeyRow, Refuse
from proxy.journal.sqlite import SqliteStore, open_sqlite
from tests.journal.contract import answered, facts, fresh_database, grant, offer, reserve

NAME = "Zebedee-Quux"
ACCOUNT = f"main/{NAME}"
SECRETS = (NAME, "Workspace-Quux", "Prospect-Quux", "Prompt-Quux")


async def opened(path: Path) -> SqliteStore:
    return await open_sqlite(path, durability="relaxed", owner="me")


async def used(store: SqliteStore, calls: int) -> None:
    """A user who has left traces in every table."""
    await store.create_key(
        KeyRow(
            id="k1",
            mac=b"\x01",
            role=Role.USER,
            namespace="main",
            user=NAME,
            workspace="Workspace-Quux",
            operations=None,
            models=None,
            actions=None,
            name=f"laptop of {NAME}",
            created_at=1,
        )
    )
    for n in range(calls):
        call_id = f"{first_id(n)}-c{n}"
        op = reserve(call_id, offer(1), account=ACCOUNT, workspace="Workspace-Quux", prospect="Prospect-Quux")
        await store.reserve(op)
        await store.close(answered(call_id, 1))
        await store.keep_bodies(Bodies(call_id=call_id, request="Prompt-Quux", response=None))
    await store.grant(replace(grant(5, account=ACCOUNT, source_ref=f"order of {NAME}"), reason=f"for {NAME}"))
    await store.refuse(
        Refuse(facts=facts(first_id(calls), ACCOUNT, requested_model=NAME), error="x", message=f"no model {NAME}")
    )


def found_in_files(folder: Path) -> list[str]:
    return [
        f"{secret} in {file.name}"
        for file in folder.iterdir()
        for secret in SECRETS
        if secret.encode() in file.read_bytes()
    ]


async def test_nothing_of_an_erased_user_is_left_in_any_file(tmp_path: Path) -> None:
    store = await opened(fresh_database(tmp_path))
    await used(store, 20)
    assert found_in_files(tmp_path)
    await store.erase_user(ACCOUNT, "erased-1")
    while (await store.erase_calls(7)).more:
        pass
    assert await store.scrub() is True
    assert found_in_files(tmp_path) == []
    assert await store.verify() == []
    await store.aclose()


async def test_nothing_of_pruned_calls_is_left_in_any_file(tmp_path: Path) -> None:
    store = await opened(fresh_database(tmp_path))
    await used(store, 20)
    while (await store.prune(1 << 47, rows_max=7)).calls:
        pass
    await store.scrub()
    assert [line for line in found_in_files(tmp_path) if "Prompt" in line or "Prospect" in line] == []
    await store.aclose()


async def test_the_log_is_not_emptied_under_a_reader_and_calls_do_not_wait_for_it(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await opened(path)
    await used(store, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM calls").fetchone()
        await store.erase_user(ACCOUNT, "erased-1")
        scrubbed, reserved = store.scrub(), store.reserve(reserve("next"))
        assert await scrubbed is False
        await reserved
        reader.execute("COMMIT")
    assert await store.scrub() is True
    await store.aclose()


async def test_an_erasure_that_a_crash_cut_short_is_finished_by_the_next_process(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await opened(path)
    await used(store, 5)
    await store.erase_user(ACCOUNT, "erased-1")
    assert await store.erase_calls(2) == Erasing(calls=2, more=True)
    await store.aclose()
    store = await opened(path)
    again = await store.erase_user(ACCOUNT, "erased-2")
    assert (again.pseudonym, again.keys) == ("erased-1", ())  # asked for twice, it is the same erasure
    while (await store.erase_calls(2)).more:
        pass
    assert {row["account"] for row in await store.calls(CallFilter())} == {"main/erased-1"}
    await store.scrub()
    assert found_in_files(tmp_path) == []
    assert await store.verify() == []
    await store.aclose()


async def test_a_batch_that_fails_half_way_erases_and_prunes_nothing(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    store = await opened(path)
    await used(store, 3)
    with closing(sqlite3.connect(path)) as connection:
        before = "".join(connection.iterdump())
        for table in ("pruned", "erasures"):
            connection.execute(
                f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        connection.commit()
    for broken in (store.prune(1 << 47, rows_max=100), store.erase_user(ACCOUNT, "erased-1")):
        with pytest.raises(AssertionError, match="no"):
            await broken
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("pruned", "erasures"):
            connection.execute(f"DROP TRIGGER no_{table}")
        connection.commit()
        assert "".join(connection.iterdump()) == before
