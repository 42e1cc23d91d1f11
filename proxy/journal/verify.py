"""The ledger's invariants as SQL: each query returns no row while the books are right.

Columns of every query: the row that is wrong, then the figures in words. ``?`` is the number of rows wanted. Run them
from one snapshot, so that what they name belongs together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from proxy.journal.port import Violation

ROWS_MAX = 100
"""Violations named of each invariant."""

BALANCE_IS_ENTRIES = """
SELECT a.id, printf('balance %d, entries %d', a.balance, COALESCE(e.points, 0))
FROM accounts a LEFT JOIN (SELECT account, SUM(points) AS points FROM entries GROUP BY account) e ON e.account = a.number
WHERE a.balance <> COALESCE(e.points, 0)
LIMIT ?
"""

BALANCE_IS_GRANTS = """
SELECT a.id, printf('balance %d, unclosed grants %d', a.balance, COALESCE(g.points, 0))
FROM accounts a LEFT JOIN (
    SELECT account, SUM(remaining) AS points FROM grants WHERE closed_at IS NULL GROUP BY account
) g ON g.account = a.number
WHERE a.balance <> COALESCE(g.points, 0)
LIMIT ?
"""

HELD_IS_OPEN_CALLS = """
SELECT a.id, printf('held %d, open calls %d', a.held, COALESCE(c.points, 0))
FROM accounts a LEFT JOIN (
    SELECT payer, SUM(points_held) AS points FROM calls INDEXED BY ix_calls_open WHERE state = 'open' GROUP BY payer
) c ON c.payer = a.number
WHERE a.held <> COALESCE(c.points, 0)
LIMIT ?
"""

HELD_WITHIN_BALANCE = """
SELECT id, printf('held %d, balance %d', held, balance) FROM accounts WHERE NOT (0 <= held AND held <= balance) LIMIT ?
"""

GRANT_WITHIN_AMOUNT = """
SELECT id, printf('remaining %d of %d, closed at %s', remaining, amount, COALESCE(closed_at, 'no time')) FROM grants
WHERE NOT (0 <= remaining AND remaining <= amount AND (closed_at IS NULL OR remaining = 0))
LIMIT ?
"""

GRANT_IS_ENTRIES = """
SELECT g.id, printf('remaining %d, entries %d', g.remaining, COALESCE(e.points, 0))
FROM grants g LEFT JOIN (SELECT grant_id, SUM(points) AS points FROM entries GROUP BY grant_id) e ON e.grant_id = g.id
WHERE g.remaining <> COALESCE(e.points, 0)
LIMIT ?
"""

ENTRIES_CHAIN = """
SELECT seq, printf('balance_after %d, entries so far %d', balance_after, so_far) FROM (
    SELECT seq, balance_after, SUM(points) OVER (PARTITION BY account ORDER BY seq) AS so_far FROM entries
)
WHERE balance_after <> so_far
LIMIT ?
"""

CHARGE_IS_SETTLED = """
SELECT id, printf('charged %d, settled %d, held %d, %s', points_charged, settled, points_held, state) FROM (
    SELECT id, points_charged, points_held, state, COALESCE(
        (SELECT -SUM(points) FROM entries WHERE call_id = calls.id AND kind = 'settle'), 0
    ) AS settled
    FROM calls
)
WHERE points_charged <> settled OR points_charged > points_held OR (state <> 'closed' AND points_charged <> 0)
LIMIT ?
"""

REFUND_WITHIN_CHARGE = """
SELECT id, printf('refunded %d, refund entries %d, charged %d', points_refunded, given_back, points_charged) FROM (
    SELECT id, points_charged, points_refunded, COALESCE(
        (SELECT SUM(points) FROM entries WHERE call_id = calls.id AND kind = 'refund'), 0
    ) AS given_back
    FROM calls
)
WHERE points_refunded <> given_back OR points_refunded > points_charged
LIMIT ?
"""

CLOSED_ONCE = """
SELECT id, printf('%s, how %s, closed at %s', state, COALESCE(how, 'unknown to us'), COALESCE(closed_at, 'no time'))
FROM calls
WHERE (state = 'open') <> (closed_at IS NULL) OR (state = 'closed') <> (how IS NOT NULL)
LIMIT ?
"""

ENTRY_OF_PAYER = """
SELECT e.seq, printf('entry of account %d, call of %s, grant of %d', e.account, COALESCE(c.payer, 'nobody'), g.account)
FROM entries e LEFT JOIN calls c ON c.id = e.call_id LEFT JOIN grants g ON g.id = e.grant_id
WHERE g.account IS NOT e.account OR (c.id IS NOT NULL AND c.payer IS NOT e.account)
LIMIT ?
"""

CALL_OF_ACCOUNT = """
SELECT c.id, printf('%s, of %s, paid by %s', c.state, c.account, COALESCE(a.id, 'nobody'))
FROM calls c LEFT JOIN accounts a ON a.number = c.payer
WHERE CASE c.state WHEN 'refused' THEN c.payer IS NOT NULL ELSE a.number IS NULL END
LIMIT ?
"""

# The entries of calls whose row is gone: what they took, by the month they were settled in.
CHARGE_IS_PRUNED = """
SELECT payer || ' ' || period, printf('settled without a call %d, pruned calls charged %d', SUM(settled), SUM(charged))
FROM (
    SELECT account AS payer, strftime('%Y-%m', at / 1000, 'unixepoch') AS period, -points AS settled, 0 AS charged
    FROM entries WHERE kind = 'settle' AND NOT EXISTS (SELECT 1 FROM calls WHERE id = entries.call_id)
    UNION ALL
    SELECT payer, period, 0, charged FROM pruned
)
GROUP BY payer, period HAVING SUM(settled) <> SUM(charged)
LIMIT ?
"""

REFUND_IS_PRUNED = """
SELECT payer, printf('given back without a call %d, pruned calls refunded %d', SUM(given_back), SUM(refunded))
FROM (
    SELECT account AS payer, points AS given_back, 0 AS refunded
    FROM entries WHERE kind = 'refund' AND NOT EXISTS (SELECT 1 FROM calls WHERE id = entries.call_id)
    UNION ALL
    SELECT payer, 0, refunded FROM pruned
)
GROUP BY payer HAVING SUM(given_back) <> SUM(refunded)
LIMIT ?
"""

OPEN_CALL_HAS_OWNER = """
SELECT id, printf('open, owner %s', COALESCE(owner, 'nobody')) FROM calls
WHERE state = 'open' AND owner IS NOT (SELECT owner FROM calls WHERE state = 'open' ORDER BY rowid DESC LIMIT 1)
LIMIT ?
"""

INVARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "balance is the sum of its entries": BALANCE_IS_ENTRIES,
        "balance is the sum of its unclosed grants": BALANCE_IS_GRANTS,
        "held is the sum of its open calls": HELD_IS_OPEN_CALLS,
        "held is within the balance": HELD_WITHIN_BALANCE,
        "a grant keeps between nothing and its amount, and nothing once closed": GRANT_WITHIN_AMOUNT,
        "a grant is the sum of its entries": GRANT_IS_ENTRIES,
        "an entry's balance is the sum of the entries up to it": ENTRIES_CHAIN,
        "a call's charge is what was settled, within its hold": CHARGE_IS_SETTLED,
        "a call's refund is what was given back, within its charge": REFUND_WITHIN_CHARGE,
        "a call is closed once": CLOSED_ONCE,
        "an entry is of the payer of its call and its grant": ENTRY_OF_PAYER,
        "a call has an account unless it was refused": CALL_OF_ACCOUNT,
        "an open call has a living owner": OPEN_CALL_HAS_OWNER,
        "entries without a call are what pruned calls were charged": CHARGE_IS_PRUNED,
        "entries without a call are what pruned calls were given back": REFUND_IS_PRUNED,
    }
)


def violation(invariant: str, row: Sequence[Any]) -> Violation:
    """A row that one of the queries returned, in words."""
    return Violation(invariant, str(row[0]), str(row[1]))
