"""The listings of the ledger in memory, and what it keeps: the twin of ``listing_sqlite`` in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

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
from proxy.journal.port import Grant, RefusalCount
from proxy.journal.rules import PRIORITY

Row = dict[str, Any]


@dataclass(slots=True)
class AccountRow:
    """An account's points."""

    number: int
    plan: str
    created_at: int
    balance: int = 0
    held: int = 0


@dataclass(slots=True)
class GrantOf:
    """A grant and what is left of it; closed when nothing is."""

    id: int
    op: Grant
    remaining: int
    created_at: int
    closed_at: int | None = None

    def change(self, points: int, at: int) -> None:
        self.remaining += points
        self.closed_at = None if self.remaining else at


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryOf:
    """An entry; its ``op_ref`` is ``kind:whose[:n]``."""

    kind: str
    op_ref: str
    grant: GrantOf
    points: int
    balance_after: int
    at: int

    @property
    def account(self) -> str:
        return self.grant.op.account

    @property
    def call_id(self) -> str | None:
        return None if self.kind == "grant" else self.op_ref.split(":", 1)[1].rsplit(":", 1)[0]


class MemoryListings:
    """An implementation of ``listing.Listings`` over what ``MemoryStore`` keeps."""

    _accounts: dict[str, AccountRow]
    _grants: list[GrantOf]
    _entries: list[EntryOf]
    _calls: dict[str, Row]
    _refusals: Counter[tuple[int, str, str]]

    async def users(
        self, namespace: str | None = None, *, after: str | None = None, limit: int = 50
    ) -> Sequence[UserRow]:
        check_page(limit)
        names = sorted(name for name in self._accounts if name > (after or ""))
        rows = (_user(name, self._accounts[name]) for name in names)
        return [row for row in rows if namespace in (None, row.namespace)][:limit]

    async def grants(self, account: str) -> Sequence[GrantRow]:
        return [_grant(grant) for grant in self._grants if grant.op.account == account]

    async def entries(self, account: str, *, before: int | None = None, limit: int = 50) -> Sequence[EntryRow]:
        check_page(limit)
        numbered = reversed(list(enumerate(self._entries, 1)))
        mine = [_entry(seq, entry) for seq, entry in numbered if entry.account == account]
        return [row for row in mine if before is None or row.seq < before][:limit]

    async def calls(
        self, wanted: CallFilter, *, before: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Mapping[str, Any]]:
        check_page(limit)
        rows = list(self._calls.values()) if after is None else self._written_behind(after)
        found = [dict(row) for row in rows if _fits(row, wanted) and (before is None or row["id"] < before)]
        if after is None:
            found.sort(key=lambda row: str(row["id"]), reverse=True)
        return found[:limit]

    def _written_behind(self, call_id: str) -> list[Row]:
        rows = list(self._calls.values())
        seen = max((row["id"] for row in rows if row["id"] <= call_id), default=None)
        place = next((place for place, row in enumerate(rows, 1) if row["id"] == seen), 0)
        return rows[place:]

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
        found: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self._calls.values():
            if _fits(row, wanted):
                found[tuple(_USAGE_KEYS[name](row) for name in groups)].append(row)
        if len(found) > USAGE_ROWS_MAX:
            raise too_many_groups()
        return [_usage(dict(zip(groups, key, strict=True)), found[key]) for key in sorted(found)]

    async def refusals(
        self, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 50
    ) -> Sequence[RefusalCount]:
        check_page(limit)
        found = (
            RefusalCount(minute=minute, source=source, reason=reason, count=count)
            for (minute, source, reason), count in sorted(self._refusals.items(), reverse=True)
        )
        until = until_ms if until_ms is not None else float("inf")
        return [row for row in found if (since_ms or 0) <= row.minute < until][:limit]

    async def totals(self) -> Totals:
        running = [row for row in self._calls.values() if row["state"] == "open"]
        return Totals(
            open_calls=len(running),
            oldest_open_at=min((row["created_at"] for row in running), default=None),
            points_held=sum(row["points_held"] for row in running),
            accounts=len(self._accounts),
            entries=len(self._entries),
            calls=len(self._calls),
        )


def _user(name: str, row: AccountRow) -> UserRow:
    namespace, _, user = name.partition("/")
    return UserRow(
        namespace=namespace,
        user=user,
        plan=row.plan,
        balance=row.balance,
        held=row.held,
        created_at=row.created_at,
    )


def _grant(grant: GrantOf) -> GrantRow:
    op = grant.op
    return GrantRow(
        id=grant.id,
        account=op.account,
        amount=op.points,
        remaining=grant.remaining,
        kind=op.kind,
        priority=PRIORITY[op.kind],
        reason=op.reason,
        source_ref=op.source_ref,
        created_at=grant.created_at,
        closed_at=grant.closed_at,
    )


def _entry(seq: int, entry: EntryOf) -> EntryRow:
    return EntryRow(
        seq=seq,
        op_ref=entry.op_ref,
        call_id=entry.call_id,
        account=entry.account,
        grant_id=entry.grant.id,
        kind=entry.kind,
        points=entry.points,
        balance_after=entry.balance_after,
        at=entry.at,
    )


def _fits(row: Row, wanted: CallFilter) -> bool:
    asked = {name: value for name, value in asdict(wanted).items() if value is not None}
    since, until = asked.pop("since_ms", row["created_at"]), asked.pop("until_ms", row["created_at"] + 1)
    return since <= row["created_at"] < until and all(row[name] == value for name, value in asked.items())


def _day(row: Row) -> str:
    return datetime.fromtimestamp(row["created_at"] // 1000, UTC).strftime("%Y-%m-%d")


_USAGE_KEYS: Mapping[str, Callable[[Row], str]] = {
    "namespace": lambda row: str(row["namespace"]),
    "user": lambda row: str(row["user_id"]),
    "workspace": lambda row: row["workspace"] or "",
    "action": lambda row: row["action"] or "",
    "model": lambda row: row["model"] or "",
    "provider": lambda row: row["provider"] or "",
    "day": _day,
    "key": lambda row: str(row["key_id"]),
}


def _usage(key: Mapping[str, str], rows: Iterable[Row]) -> UsageRow:
    calls = list(rows)
    answered = [row for row in calls if row["how"] == "answered"]

    def total(column: str) -> int:
        return sum(row[column] or 0 for row in calls)

    return UsageRow(
        key=key,
        calls=len(calls),
        answered=len(answered),
        failed=sum(row["state"] == "closed" for row in calls) - len(answered),
        refused=sum(row["state"] == "refused" for row in calls),
        points_charged=total("points_charged"),
        points_refunded=total("points_refunded"),
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        cost_nanousd=total("cost_nanousd"),
        cost_unknown=sum(row["cost_nanousd"] is None for row in answered),
    )
