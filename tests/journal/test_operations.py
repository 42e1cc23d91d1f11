"""What an operator does to a ledger as a whole, here and through the socket of the proxy that holds it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.call import Role
from proxy.errors import BadRequest, CallerError, Unauthenticated
from proxy.journal import lock
from proxy.journal.admin import Admin, CreateUser, DirectAdmin
from proxy.journal.control import serving
from proxy.journal.memory import MemoryStore
from proxy.journal.operations import (
    AskReload,
    EraseUser,
    MakeBackup,
    PruneRecords,
    ReadStatus,
    Reloaded,
    RotateKey,
)
from proxy.journal.remote import RemoteAdmin
from proxy.journal.sqlite import SqliteStore, open_sqlite, read_only
from proxy.keys import Keyring, NewKey
from tests.journal.contract import answered, fresh_database, offer, reserve

ANA = CreateUser(user="ana", plan="free", points=25)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = await open_sqlite(fresh_database(tmp_path), durability="relaxed", owner="me")
    yield made
    assert await made.verify() == []
    await made.aclose()


@pytest.fixture
def keyring(store: SqliteStore) -> Keyring:
    return Keyring(store, b"pepper")


@pytest.fixture(params=["here", "through the socket"])
async def admin(
    request: pytest.FixtureRequest, tmp_path: Path, store: SqliteStore, keyring: Keyring
) -> AsyncIterator[Admin]:
    async def reload() -> Reloaded:
        return Reloaded(policy_version="p2", problems=("config.yaml:1:1 no",))

    direct = DirectAdmin(store, keyring, database=tmp_path / "orch.db", reload=reload)
    if request.param == "here":
        yield direct
        return
    path = lock.socket_path(tmp_path / "orch.db")
    async with serving(direct, path):
        yield RemoteAdmin(path)


async def test_a_key_is_rotated(admin: Admin, keyring: Keyring) -> None:
    made = await admin.create_key(NewKey(role=Role.USER, user="ana", actions=("ai_message",)))
    await keyring.principal(made.key)
    fresh = await admin.rotate_key(RotateKey(key_id=made.facts.id))
    assert fresh.facts.actions == ("ai_message",)
    assert (await keyring.principal(fresh.key)).key_id == fresh.facts.id
    with pytest.raises(Unauthenticated, match="revoked"):
        await keyring.principal(made.key)
    graced = await admin.rotate_key(RotateKey(key_id=fresh.facts.id, grace_s=60))
    assert (await keyring.principal(fresh.key)).user == (await keyring.principal(graced.key)).user == "ana"
    with pytest.raises(CallerError, match="no key"):
        await admin.rotate_key(RotateKey(key_id="nobody"))


async def test_a_user_is_erased_and_their_key_counts_no_more(
    admin: Admin, keyring: Keyring, store: SqliteStore
) -> None:
    await admin.create_user(ANA)
    made = await admin.create_key(NewKey(role=Role.USER, user="ana"))
    await keyring.principal(made.key)
    await store.reserve(reserve("c1", offer(1), account="app/ana"))
    with pytest.raises(CallerError, match="1 calls running"):
        await admin.erase_user(EraseUser(user="ana"))
    await store.close(answered("c1", 1))
    erased = await admin.erase_user(EraseUser(user="ana"))
    assert (erased.keys, erased.calls, erased.clean) == ((made.facts.id,), 1, True)
    assert erased.pseudonym is not None
    balance = await store.balance(f"app/{erased.pseudonym}")
    assert balance is not None
    assert balance.balance == 24
    with pytest.raises(Unauthenticated, match="revoked"):
        await keyring.principal(made.key)
    again = await admin.erase_user(EraseUser(user="ana"))
    assert (again.pseudonym, again.keys, again.calls) == (None, (), 0)


async def test_old_records_are_pruned_and_new_ones_refused(admin: Admin) -> None:
    now = time.time_ns() // 1_000_000
    assert (await admin.prune(PruneRecords(before_ms=now - 7_200_000))).calls == 0
    with pytest.raises(CallerError, match="last hour"):
        await admin.prune(PruneRecords(before_ms=now))


async def test_a_backup_is_made(admin: Admin, tmp_path: Path) -> None:
    await admin.create_user(ANA)
    made = await admin.backup(MakeBackup(to=str(tmp_path / "copy.db")))
    assert (made.to, made.size_bytes) == (str(tmp_path / "copy.db"), (tmp_path / "copy.db").stat().st_size)
    async with read_only(tmp_path / "copy.db") as reader:
        assert await reader.balance("app/ana") is not None
    with pytest.raises(CallerError, match="never replaces"):
        await admin.backup(MakeBackup(to=made.to))


async def test_the_state_of_the_files_is_told(admin: Admin, tmp_path: Path) -> None:
    await admin.create_user(ANA)
    found = await admin.db_status(ReadStatus())
    assert found.path == str(tmp_path / "orch.db")
    assert found.schema_version == found.own_schema_version
    assert found.totals is not None
    assert found.totals.accounts == 1


async def test_a_reload_says_what_came_of_it(admin: Admin) -> None:
    assert await admin.reload(AskReload()) == Reloaded(policy_version="p2", problems=("config.yaml:1:1 no",))


async def test_without_a_proxy_or_a_file_there_is_nothing_to_reload_or_copy(tmp_path: Path) -> None:
    store = MemoryStore()
    admin = DirectAdmin(store, Keyring(store, b"pepper"))
    with pytest.raises(BadRequest, match="no proxy runs"):
        await admin.reload(AskReload())
    with pytest.raises(BadRequest, match="in memory"):
        await admin.backup(MakeBackup(to=str(tmp_path / "copy.db")))
