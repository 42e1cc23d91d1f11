"""The ledger in one SQLite file: a writer with group commit, a read-only connection beside it."""

from __future__ import annotations

import sqlite3
import time
from asyncio import Future, wait
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson

from proxy.journal import ledger, records
from proxy.journal import statements as sql
from proxy.journal.clock import Clock, unix_ms
from proxy.journal.listing_sqlite import SqliteListings
from proxy.journal.port import (
    Balance,
    Bodies,
    Close,
    Closed,
    Erased,
    Erasing,
    Exhausted,
    Grant,
    KeyRow,
    NewUser,
    Pruned,
    RefusalCount,
    Refuse,
    Reserve,
    Reserved,
    Rotation,
    Violation,
)
from proxy.journal.reader import BUSY_S, SqliteReader, key_row
from proxy.journal.rules import key_exists
from proxy.journal.upgrade import bring_up, check_schema
from proxy.journal.writer import Meter, Writer

Durability = Literal["strict", "relaxed"]

SYNCHRONOUS = {"strict": 2, "relaxed": 1}  # FULL: synced at every commit; NORMAL: at checkpoints
STATEMENTS_MAX = 256
CHECKPOINT_PAGES = 2000
WAL_BYTES_KEPT = 64 * 1024 * 1024
ABANDONED_MAX = 1000
FRESH_S = 1.0
PROBE_S = 2.0


class SqliteStore(SqliteListings):
    """An implementation of ``port.Store`` and ``listing.Listings``. The caller holds the lock of its file."""

    def __init__(self, writer: Writer, reader: SqliteReader, *, owner: str) -> None:
        self._writer = writer
        self._reader = reader
        self._owner = owner

    @property
    def queued(self) -> int:
        """Operations that wait for the writer."""
        return self._writer.queued

    def reserve(self, op: Reserve) -> Future[Reserved | Exhausted]:
        return self._writer.submit(partial(ledger.reserve, op, self._owner))

    def raise_hold(self, call_id: str, *, points: int, points_if_unknown: int) -> Future[bool]:
        return self._writer.submit(partial(ledger.raise_hold, call_id, points, points_if_unknown))

    def close(self, op: Close) -> Future[Closed]:
        return self._writer.finish(partial(ledger.close, op))

    def withdraw(self, call_id: str) -> Future[None]:
        """As in the port; and while the store fails it is kept and tried again, so that no hold outlives the failure."""
        return self._writer.owe(partial(ledger.withdraw, call_id))

    def refuse(self, op: Refuse) -> Future[None]:
        return self._writer.submit(partial(ledger.refuse, op))

    def create_user(self, op: NewUser) -> Future[Balance]:
        return self._writer.submit(partial(ledger.create_user, op))

    def grant(self, op: Grant) -> Future[Balance]:
        return self._writer.submit(partial(ledger.grant, op))

    def create_key(self, row: KeyRow) -> Future[None]:
        return self._writer.submit(partial(_create_key, row))

    def revoke_key(self, key_id: str) -> Future[bool]:
        return self._writer.submit(partial(_revoke_key, key_id))

    def rotate_key(self, op: Rotation) -> Future[KeyRow]:
        return self._writer.submit(partial(_rotate_key, op))

    def erase_user(self, account: str, pseudonym: str) -> Future[Erased]:
        return self._writer.submit(partial(records.erase_user, account, pseudonym))

    def erase_calls(self, calls_max: int) -> Future[Erasing]:
        return self._writer.submit(partial(records.erase_calls, calls_max))

    def scrub(self) -> Future[bool]:
        return self._writer.aside(partial(records.scrub, round(BUSY_S * 1000)))

    def prune(self, before_ms: int, *, rows_max: int) -> Future[Pruned]:
        return self._writer.submit(partial(records.prune, before_ms, rows_max))

    def count_refusals(self, counts: Sequence[RefusalCount]) -> Future[None]:
        return self._writer.finish(partial(records.count_refusals, tuple(counts)))

    def keep_bodies(self, op: Bodies) -> Future[None]:
        return self._writer.submit(partial(records.keep_bodies, op))

    def keep_policy_version(self, version: str, files: Mapping[str, str]) -> Future[None]:
        return self._writer.submit(partial(_keep_policy_version, version, dict(files)))

    async def balance(self, account: str) -> Balance | None:
        return await self._reader.balance(account)

    async def call(self, call_id: str) -> Mapping[str, Any] | None:
        return await self._reader.call(call_id)

    async def key(self, key_id: str) -> KeyRow | None:
        return await self._reader.key(key_id)

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]:
        return await self._reader.keys(namespace)

    async def bodies(self, call_id: str) -> Bodies | None:
        return await self._reader.bodies(call_id)

    async def listed(self, query: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
        return await self._reader.listed(query, values)

    async def verify(self) -> Sequence[Violation]:
        return await self._reader.verify()

    async def healthy(self) -> bool:
        """A commit of the last ``FRESH_S`` seconds is proof; else one is made, waited for ``PROBE_S``."""
        if time.monotonic() - self._writer.committed_at < FRESH_S:
            return True
        probe = self._writer.submit(_probe)
        await wait((probe,), timeout=PROBE_S)
        return not probe.cancel() and probe.exception() is None

    async def aclose(self) -> None:
        # The writer last: with nobody else on the file its close folds the WAL in, and one file is the whole ledger.
        await self._reader.aclose()
        await self._writer.aclose()


async def open_sqlite(
    path: Path,
    *,
    durability: Durability,
    owner: str,
    now_ms: Callable[[], int] = unix_ms,
    meter: Meter | None = None,
) -> SqliteStore:
    """Open the ledger, migrated, with every call closed that another process left open.

    The caller holds the file's lock, so whoever opened those calls is gone: they end as ``unknown``, each for its
    ``points_if_unknown``. ``owner`` names this process in the calls it opens; ``meter`` hears of every commit. Raises OrchError.
    """
    await bring_up(path)
    clock = Clock(now_ms)
    writer = Writer(partial(connect, path, durability), clock, meter=meter)
    store = SqliteStore(writer, SqliteReader(path), owner=owner)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(store.aclose)
        clock.not_before(await writer.finish(_latest))
        while await writer.finish(partial(ledger.close_abandoned, ABANDONED_MAX)) == ABANDONED_MAX:
            pass
        undo.pop_all()
    return store


def read_only(path: Path) -> SqliteReader:
    """Read a ledger beside the proxy that runs on it, or without one. Raises OrchError when it cannot be read."""
    check_schema(path)
    return SqliteReader(path)


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """The writing connection. Raises sqlite3.Error, also when a setting did not take."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # rw: a file that vanished must not come back empty
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, cached_statements=STATEMENTS_MAX)
    try:
        _set(connection, "journal_mode", "wal")
        _set(connection, "synchronous", SYNCHRONOUS[durability])
        _set(connection, "foreign_keys", 1)
        _set(connection, "secure_delete", 1)  # what is erased or pruned is overwritten, not only forgotten
        _set(connection, "wal_autocheckpoint", CHECKPOINT_PAGES)
        _set(connection, "journal_size_limit", WAL_BYTES_KEPT)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _set(connection: sqlite3.Connection, pragma: str, value: str | int) -> None:
    """Set and read back: SQLite takes a setting it cannot do without a word."""
    connection.execute(f"PRAGMA {pragma} = {value}")
    (now,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    if now != value:
        raise sqlite3.OperationalError(f"PRAGMA {pragma} is {now}, not {value}")


def _latest(db: sqlite3.Cursor, at: int) -> int:
    """The latest time in the books, Unix ms."""
    (latest,) = db.execute(sql.LATEST).fetchone()
    return int(latest)


def _probe(db: sqlite3.Cursor, at: int) -> None:
    db.execute(sql.PROBE, (at,))


def _create_key(row: KeyRow, db: sqlite3.Cursor, at: int) -> None:
    values = (
        row.id,
        row.mac,
        row.role,
        row.namespace,
        row.user,
        row.workspace,
        _json(row.operations),
        _json(row.models),
        _json(row.actions),
        row.name,
        row.created_at,
        row.revoked_at,
    )
    if not db.execute(sql.ADD_KEY, values).rowcount:
        raise key_exists(row.id)


def _rotate_key(op: Rotation, db: sqlite3.Cursor, at: int) -> KeyRow:
    records.rotate_key(op, db, at)
    return key_row(db.execute(sql.READ_KEY, (op.fresh_id,)).fetchone())


def _json(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else orjson.dumps(names).decode()


def _revoke_key(key_id: str, db: sqlite3.Cursor, at: int) -> bool:
    return db.execute(sql.REVOKE_KEY, (at, key_id)).rowcount == 1


def _keep_policy_version(version: str, files: Mapping[str, str], db: sqlite3.Cursor, at: int) -> None:
    db.execute(sql.KEEP_POLICY_VERSION, (version, orjson.dumps(files).decode(), at))
