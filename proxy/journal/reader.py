"""Reading the SQLite ledger: a read-only connection on a thread of its own, one short snapshot a question."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from proxy.call import Role
from proxy.errors import JournalUnavailable
from proxy.journal import statements as sql
from proxy.journal.port import Balance, KeyRow, Violation
from proxy.journal.verify import INVARIANTS, ROWS_MAX, violation

BUSY_S = 1.0
"""How long a connection waits for another one's lock, in seconds."""


class SqliteReader:
    """Reads a ledger, whoever writes it. Opened at the first question, opened anew after a failure.

    Every method raises JournalUnavailable when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._opening = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None

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
        return None if row is None else _key(row)

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]:
        return [_key(row) for row in await self._rows(sql.READ_KEYS, namespace)]

    async def verify(self) -> Sequence[Violation]:
        """Every broken invariant, from one snapshot; on a connection of its own, so that nobody waits for it."""
        try:
            async with self._opened() as connection:
                await connection.execute("BEGIN")
                return [
                    violation(name, row)
                    for name, query in INVARIANTS.items()
                    for row in await connection.execute_fetchall(query, (ROWS_MAX,))
                ]
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        rows = await self._rows(query, *values)
        return rows[0] if rows else None

    async def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        connection = await self._open()
        try:
            return list(await connection.execute_fetchall(query, values))
        except (sqlite3.Error, ValueError) as error:  # ValueError: closed meanwhile
            if connection is self._connection:
                await self.aclose()
            raise _unreadable(error) from error

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._connection is None:
                try:
                    self._connection = await self._connect()
                except sqlite3.Error as error:
                    raise _unreadable(error) from error
            return self._connection

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._connect()
        try:
            yield connection
        finally:
            await connection.close()

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._uri, uri=True, isolation_level=None, timeout=BUSY_S)
        connection.row_factory = sqlite3.Row
        return connection


def _unreadable(error: Exception) -> JournalUnavailable:
    return JournalUnavailable(f"the ledger cannot be read: {error}")


def _key(row: sqlite3.Row) -> KeyRow:
    return KeyRow(
        id=row["id"],
        mac=row["mac"],
        role=Role(row["role"]),
        namespace=row["namespace"],
        user=row["user_id"],
        workspace=row["workspace"],
        operations=_names(row["operations"]),
        models=_names(row["models"]),
        actions=_names(row["actions"]),
        name=row["name"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
