"""The listings of the SQLite ledger: each question is one statement, so one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.journal import listing_sql as sql
from proxy.journal.listing import (
    USAGE_ROWS_MAX,
    CallFilter,
    EntryRow,
    GrantRow,
    Totals,
    UsageRow,
    UserRow,
    check_page,
    grouping,
    too_many_groups,
)
from proxy.journal.port import RefusalCount


class SqliteListings:
    """An implementation of ``listing.Listings`` for whoever can ask the file."""

    async def listed(self, query: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
        """The rows of a question that may take long: it must not stand in the way of short ones."""
        raise NotImplementedError

    async def users(
        self, namespace: str | None = None, *, after: str | None = None, limit: int = 50
    ) -> Sequence[UserRow]:
        found = await self.listed(*sql.users_page(namespace, after, check_page(limit)))
        return [UserRow(**dict(row)) for row in found]

    async def grants(self, account: str) -> Sequence[GrantRow]:
        return [GrantRow(**dict(row)) for row in await self.listed(sql.GRANTS, {"account": account})]

    async def entries(self, account: str, *, before: int | None = None, limit: int = 50) -> Sequence[EntryRow]:
        last = sql.LAST if before is None else before
        asked = {"account": account, "before": last, "limit": check_page(limit)}
        return [EntryRow(**dict(row)) for row in await self.listed(sql.ENTRIES, asked)]

    async def calls(
        self, wanted: CallFilter, *, before: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Mapping[str, Any]]:
        found = await self.listed(*sql.calls_page(wanted, before, after, check_page(limit)))
        return [dict(row) for row in found]

    async def usage(
        self,
        by: tuple[str, ...],
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        namespace: str | None = None,
    ) -> Sequence[UsageRow]:
        groups = grouping(by)
        wanted = CallFilter(namespace=namespace, since_ms=since_ms, until_ms=until_ms)
        found = await self.listed(*sql.usage_report(groups, wanted))
        if len(found) > USAGE_ROWS_MAX:
            raise too_many_groups()
        return [_usage(dict(row), groups) for row in found]

    async def refusals(
        self, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 50
    ) -> Sequence[RefusalCount]:
        asked = {"since": since_ms or 0, "until": sql.LAST if until_ms is None else until_ms}
        found = await self.listed(sql.REFUSALS, asked | {"limit": check_page(limit)})
        return [RefusalCount(**dict(row)) for row in found]

    async def totals(self) -> Totals:
        (row,) = await self.listed(sql.TOTALS, {})
        return Totals(**dict(row))


def _usage(row: dict[str, Any], groups: Sequence[str]) -> UsageRow:
    return UsageRow(key={name: row.pop(name) for name in groups}, **row)
