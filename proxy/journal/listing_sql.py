"""The SQL of the listings: each is a walk along one index, and stops at its page's end.

A list of calls is put together from fixed parts, with bound values. Ids of calls are UUIDs of version 7, so a time is a place
in the order of ids: no index of times is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from proxy.journal.listing import USAGE_ROWS_MAX, CallFilter
from proxy.journal.port import CALL_COLUMNS

SKEW_MS = 3_600_000
"""How far the time in a call's id (its arrival) may be from ``created_at`` (its reserve, on the journal's own clock)."""

_ID_MS_MAX = (1 << 48) - 1

USERS = """
SELECT namespace, user_id AS user, plan, balance, held, created_at FROM accounts
WHERE id > :after AND id >= :first AND id < :end
ORDER BY id LIMIT :limit
"""
ALL_IDS = ("", "\U0010ffff")

GRANTS = """
SELECT id, :account AS account, amount, remaining, kind, priority, reason, source_ref, created_at, closed_at FROM grants
WHERE account = (SELECT number FROM accounts WHERE id = :account)
ORDER BY id
"""

ENTRIES = """
SELECT seq, op_ref, call_id, :account AS account, grant_id, kind, points, balance_after, at FROM entries
WHERE account = (SELECT number FROM accounts WHERE id = :account) AND seq < :before
ORDER BY seq DESC LIMIT :limit
"""
LAST = (1 << 63) - 1

CALLS = f"SELECT {', '.join(CALL_COLUMNS)} FROM calls"  # noqa: S608 - our own names

CALL_CONDITIONS: Mapping[str, str] = {
    "account": "account = :account",
    "namespace": "namespace = :namespace",
    "key_id": "key_id = :key_id",
    "model": "model = :model",
    "action": "action = :action",
    "state": "state = :state",
    "how": "how = :how",
    "error": "error = :error",
    "since_ms": "id >= :since_id AND created_at >= :since_ms",
    "until_ms": "id < :until_id AND created_at < :until_ms",
}
OPEN_ONLY = "state = 'open'"  # as a literal, or the partial index is no choice
BEFORE = "id < :before"
# In the order of writing: a call's id is made at its arrival, so a smaller one may be written later.
AFTER = "rowid > COALESCE((SELECT rowid FROM calls WHERE id <= :after ORDER BY id DESC LIMIT 1), 0)"
NEWEST_FIRST = "ORDER BY id DESC LIMIT :limit"
AS_WRITTEN = "ORDER BY rowid LIMIT :limit"

USAGE_KEYS: Mapping[str, str] = {
    "namespace": "namespace",
    "user": "user_id",
    "workspace": "COALESCE(workspace, '')",
    "action": "COALESCE(action, '')",
    "model": "COALESCE(model, '')",
    "provider": "COALESCE(provider, '')",
    "day": "strftime('%Y-%m-%d', created_at / 1000, 'unixepoch')",
    "key": "key_id",
}
USAGE_FIGURES = """
    COUNT(*) AS calls,
    COALESCE(SUM(how = 'answered'), 0) AS answered,
    COALESCE(SUM(how <> 'answered'), 0) AS failed,
    SUM(state = 'refused') AS refused,
    SUM(points_charged) AS points_charged,
    SUM(points_refunded) AS points_refunded,
    COALESCE(SUM(input_tokens), 0) AS input_tokens,
    COALESCE(SUM(output_tokens), 0) AS output_tokens,
    COALESCE(SUM(cost_nanousd), 0) AS cost_nanousd,
    COALESCE(SUM(how = 'answered' AND cost_nanousd IS NULL), 0) AS cost_unknown
"""

REFUSALS = """
SELECT minute, source, reason, count FROM refusal_counts
WHERE minute >= :since AND minute < :until
ORDER BY minute DESC, source DESC, reason DESC LIMIT :limit
"""

TOTALS = """
SELECT (SELECT COUNT(*) FROM calls INDEXED BY ix_calls_open WHERE state = 'open') AS open_calls,
       (SELECT MIN(created_at) FROM calls INDEXED BY ix_calls_open WHERE state = 'open') AS oldest_open_at,
       (SELECT COALESCE(SUM(points_held), 0) FROM calls INDEXED BY ix_calls_open WHERE state = 'open') AS points_held,
       (SELECT COALESCE(MAX(number), 0) FROM accounts) AS accounts,
       (SELECT COALESCE(MAX(seq), 0) FROM entries) AS entries,
       (SELECT COALESCE(MAX(rowid), 0) FROM calls) - (SELECT COALESCE(MIN(rowid), 1) FROM calls) + 1 AS calls
"""
"""Accounts and entries are never deleted, so the highest number is how many there are."""

Query = tuple[str, dict[str, Any]]


def users_page(namespace: str | None, after: str | None, limit: int) -> Query:
    first, end = ALL_IDS if namespace is None else (f"{namespace}/", f"{namespace}0")  # "0" follows "/"
    return USERS, {"after": after or "", "first": first, "end": end, "limit": limit}


def calls_page(wanted: CallFilter, before: str | None, after: str | None, limit: int) -> Query:
    """One page of calls: newest first, or with ``after`` as they were written."""
    conditions, values = _where(wanted)
    if before is not None:
        conditions.append(BEFORE)
    if after is not None:
        conditions.append(AFTER)
    order = NEWEST_FIRST if after is None else AS_WRITTEN
    return _joined(CALLS, conditions, order), values | {"before": before, "after": after, "limit": limit}


def usage_report(groups: Sequence[str], wanted: CallFilter) -> Query:
    """Calls counted by ``groups`` (names of USAGE_KEYS)."""
    conditions, values = _where(wanted)
    keys = ", ".join(f'{USAGE_KEYS[name]} AS "{name}"' for name in groups)
    numbers = ", ".join(str(place + 1) for place in range(len(groups)))
    order = f"GROUP BY {numbers} ORDER BY {numbers} LIMIT :limit" if groups else "HAVING COUNT(*) > 0 LIMIT :limit"
    select = f"SELECT {keys}{', ' if groups else ''}{USAGE_FIGURES}FROM calls"
    return _joined(select, conditions, order), values | {"limit": USAGE_ROWS_MAX + 1}


def _where(wanted: CallFilter) -> tuple[list[str], dict[str, Any]]:
    values = {name: value for name, value in asdict(wanted).items() if value is not None}
    named = dict(CALL_CONDITIONS)
    if wanted.state == "open":
        named["state"] = OPEN_ONLY
    conditions = [named[name] for name in values]
    if wanted.since_ms is not None:
        values["since_id"] = first_id(wanted.since_ms - SKEW_MS)
    if wanted.until_ms is not None:
        values["until_id"] = first_id(wanted.until_ms + SKEW_MS)
    return conditions, values


def _joined(select: str, conditions: Sequence[str], order: str) -> str:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{select}{where} {order}"


def first_id(ms: int) -> str:
    """What sorts before every id made at ``ms`` (Unix milliseconds) or later, and after all earlier ones (RFC 9562)."""
    text = f"{min(max(ms, 0), _ID_MS_MAX):012x}"
    return f"{text[:8]}-{text[8:]}"
