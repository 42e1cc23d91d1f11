"""Reading the SQLite ledger: read-only connections on threads of their own, one short snapshot a question.

Listings and reports have a connection for themselves, so that a long one never keeps a call's key or balance waiting.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from proxy.call import Role
from proxy.errors import BadRequest, JournalUnavailable, OrchError
from proxy.journal import statements as sql
from proxy.journal.listing_sqlite import SqliteListings
from proxy.journal.port import Balance, Bodies, KeyRow, Violation
from proxy.journal.records_sql import READ_BODIES
from proxy.journal.verify import INVARIANTS, ROWS_MAX, violation

BUSY_S = 1.0
"""How long a connection waits for another one's lock, in seconds."""


LISTING_S = 30.0
"""How long one listing or report may take, in seconds."""

LOOK_STEPS = 100_000
"""After how many steps of SQLite's machine its time is looked at: a few milliseconds."""


class SqliteReader(SqliteListings):
    """Reads a ledger, whoever writes it. Opened at the first question, opened anew after a failure.

    Every method raises JournalUnavailable when the file cannot be read.
    """

    def __init__(self, path: Path, *, listing_s: float = LISTING_S) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._short = _Lane(self._uri)
        self._long = _BoundedLane(self._uri, listing_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def balance(self, account: str) -> Balance | None:
        row = await self._row(sql.READ_ACCOUNT, account)
        return None if row is None else Balance(account=account, plan=row[0], balance=row[1], held=row[2])

    async def call(self, call_id: str) -> Mapping[str, Any] | None:
        """The columns of ``calls``, as stored: ``attempts`` and ``finish_reasons`` are JSON texts."""
        row = await self._row(sql.WHOLE_CALL, call_id)
        return None if row is None else dict(row)

    async def key(self, key_id: str) -> KeyRow | None:
        row = await self._row(sql.READ_KEY, key_id)
        return None if row is None else key_row(row)

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]:
        return [key_row(row) for row in await self._rows(sql.READ_KEYS, namespace)]

    async def bodies(self, call_id: str) -> Bodies | None:
        row = await self._row(READ_BODIES, call_id)
        if row is None:
            return None
        cut = {"request_cut": bool(row["request_cut"]), "response_cut": bool(row["response_cut"])}
        return Bodies(**{**dict(row), **cut})

    async def verify(self) -> Sequence[Violation]:
        """Every broken invariant, from one snapshot; on a connection of its own, so that nobody waits for it."""
        try:
            async with _opened(self._uri) as connection:
                await connection.execute("BEGIN")
                return [
                    violation(name, row)
                    for name, query in INVARIANTS.items()
                    for row in await connection.execute_fetchall(query, (ROWS_MAX,))
                ]
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    async def aclose(self) -> None:
        await self._short.aclose()
        await self._long.aclose()

    async def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        rows = await self._rows(query, *values)
        return rows[0] if rows else None

    async def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        return await self._short.rows(query, values)

    async def listed(self, query: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
        return await self._long.rows(query, values)


class _Lane:
    """One read-only connection; its questions are answered one after the other."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._opening = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None

    async def rows(self, query: str, values: Sequence[object] | Mapping[str, Any]) -> list[sqlite3.Row]:
        connection = await self._open()
        try:
            return list(await connection.execute_fetchall(query, values))
        except (sqlite3.Error, ValueError) as error:  # ValueError: closed meanwhile
            raise await self._failed(connection, error) from error

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _failed(self, connection: aiosqlite.Connection, error: Exception) -> OrchError:
        if connection is self._connection:
            await self.aclose()
        return _unreadable(error)

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._connection is None:
                try:
                    self._connection = await self._connect()
                except sqlite3.Error as error:
                    raise _unreadable(error) from error
            return self._connection

    async def _connect(self) -> aiosqlite.Connection:
        return await _connect(self._uri)


class _BoundedLane(_Lane):
    """The same, but a question that takes longer than ``longest_s`` is given up. It holds nobody but its own kind."""

    def __init__(self, uri: str, longest_s: float) -> None:
        super().__init__(uri)
        self._longest_s = longest_s
        self._turn = asyncio.Lock()
        self._give_up_at = 0.0

    async def rows(self, query: str, values: Sequence[object] | Mapping[str, Any]) -> list[sqlite3.Row]:
        async with self._turn:
            self._give_up_at = time.monotonic() + self._longest_s
            return await super().rows(query, values)

    async def _connect(self) -> aiosqlite.Connection:
        connection = await super()._connect()
        await connection.set_progress_handler(lambda: time.monotonic() > self._give_up_at, LOOK_STEPS)
        return connection

    async def _failed(self, connection: aiosqlite.Connection, error: Exception) -> OrchError:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            return await super()._failed(connection, error)
        return BadRequest(
            f"this would take longer than {self._longest_s:g} s; ask for a shorter time, one account or one namespace",
            reason="takes_too_long",
        )


@asynccontextmanager
async def _opened(uri: str) -> AsyncIterator[aiosqlite.Connection]:
    connection = await _connect(uri)
    try:
        yield connection
    finally:
        await connection.close()


async def _connect(uri: str) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)
    connection.row_factory = sqlite3.Row
    return connection


def _unreadable(error: Exception) -> JournalUnavailable:
    return JournalUnavailable(f"the ledger cannot be read: {error}")


def key_row(row: Sequence[Any]) -> KeyRow:
    """A row of READ_KEY or READ_KEYS."""
    key_id, mac, role, namespace, user, workspace, operations, models, actions, name, *times = row
    created_at, revoked_at, expires_at = times
    return KeyRow(
        id=key_id,
        mac=mac,
        role=Role(role),
        namespace=namespace,
        user=user,
        workspace=workspace,
        operations=_names(operations),
        models=_names(models),
        actions=_names(actions),
        name=name,
        created_at=created_at,
        revoked_at=revoked_at,
        expires_at=expires_at,
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
