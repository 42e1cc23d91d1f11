"""What is done to old and unwanted records: pruned, erased, counted, kept. Functions of the writer's transaction.

The points stay as they are: entries are never touched, and what a pruned call was charged is added up in ``pruned``.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from proxy.journal import records_sql as sql
from proxy.journal import statements
from proxy.journal.listing_sql import SKEW_MS, first_id
from proxy.journal.port import Bodies, Erased, Erasing, Pruned, RefusalCount, Rotation
from proxy.journal.rules import OWN_REFS, calls_open, erased_ref, key_exists, key_is_over, no_key

Db = sqlite3.Cursor


def prune(before_ms: int, rows_max: int, db: Db, at: int) -> Pruned:
    """Delete the oldest rows closed before ``before_ms``; what their payers were charged is added to ``pruned``."""
    gone = db.execute(sql.PRUNE_CALLS, (first_id(before_ms + SKEW_MS), before_ms, rows_max)).fetchall()
    sums: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for payer, period, charged, refunded in gone:
        if payer is not None:
            one = sums[payer, period]
            one[0], one[1], one[2] = one[0] + 1, one[1] + charged, one[2] + refunded
    for (payer, period), (calls, charged, refunded) in sums.items():
        db.execute(sql.NOTE_PRUNED, (payer, period, calls, charged, refunded))
    counts = db.execute(sql.PRUNE_COUNTS, (before_ms, rows_max)).rowcount
    return Pruned(calls=len(gone), counts=counts)


def erase_user(account: str, pseudonym: str, db: Db, at: int) -> Erased:
    """The name out of everything but the calls, which are noted for ``erase_calls``. Raises BadRequest."""
    (running,) = db.execute(sql.RUNNING, (account,)).fetchone()
    if running:
        raise calls_open(account, running)
    namespace, _, user = account.partition("/")
    renamed = db.execute(sql.RENAME_ACCOUNT, (f"{namespace}/{pseudonym}", pseudonym, account)).fetchone()
    keys = tuple(row[0] for row in db.execute(sql.ERASE_KEYS, (at, pseudonym, namespace, user)).fetchall())
    noted_to, noted_as = db.execute(sql.LAST_ERASURE, (account,)).fetchone() or (0, None)
    (last_call,) = db.execute(sql.LAST_CALL, (account, noted_to)).fetchone()
    if renamed is not None:
        _erase_grants(renamed[0], db)
    if last_call is not None:
        db.execute(sql.NOTE_ERASURE, (account, last_call, pseudonym))
    if renamed is None and not keys and last_call is None:
        return Erased(pseudonym=noted_as, keys=())  # None: nothing of that name; else it was asked before
    return Erased(pseudonym=pseudonym, keys=keys)


def _erase_grants(number: int, db: Db) -> None:
    """Reasons and references are texts from outside and may name the user; the ledger's own references do not."""
    for grant, ref in db.execute(sql.REFS_OF_ACCOUNT, (number,)).fetchall():
        kept = ref if ref is None or ref.startswith(OWN_REFS) else erased_ref(ref)
        db.execute(sql.ERASE_GRANT, (kept, grant))


def erase_calls(calls_max: int, db: Db, at: int) -> Erasing:
    """The next calls of the next user being erased; the erasure's own row, which holds the name, goes with the last."""
    noted = db.execute(sql.NEXT_ERASURE).fetchone()
    if noted is None:
        return Erasing(calls=0, more=False)
    account, calls_to, pseudonym = noted
    namespace = account.partition("/")[0]
    found = db.execute(sql.CALLS_TO_ERASE, (account, calls_to, calls_max)).fetchall()
    for rowid, call_id in found:
        db.execute(sql.ERASE_BODIES, (call_id,))
        db.execute(sql.ERASE_CALL, (f"{namespace}/{pseudonym}", pseudonym, rowid))
    if len(found) < calls_max:
        db.execute(sql.END_ERASURE, (account, calls_to))
    return Erasing(calls=len(found), more=db.execute(sql.NEXT_ERASURE).fetchone() is not None)


def scrub(busy_ms: int, db: Db, at: int) -> bool:
    """Empty the log, which holds pages as they were; False while a reader needs them. Outside of a transaction."""
    db.execute(sql.NO_WAIT)
    try:
        busy, *_ = db.execute(sql.EMPTY_LOG).fetchone()
    finally:
        db.execute(sql.WAIT.format(ms=busy_ms))
    return not busy


def rotate_key(op: Rotation, db: Db, at: int) -> None:
    """Copy the key's rights to the fresh one, and end it. Raises NotFound, BadRequest."""
    if db.execute(statements.READ_KEY, (op.key_id,)).fetchone() is None:
        raise no_key(op.key_id)
    ends = (None, at + op.grace_ms) if op.grace_ms else (at, None)
    if not db.execute(statements.REPLACE_KEY, (*ends, op.key_id)).rowcount:
        raise key_is_over(op.key_id)
    if not db.execute(statements.COPY_KEY, (op.fresh_id, op.mac, op.created_at, op.key_id)).rowcount:
        raise key_exists(op.fresh_id)


def count_refusals(counts: Sequence[RefusalCount], db: Db, at: int) -> None:
    rows = [(one.minute, one.source, one.reason, one.count) for one in counts]
    db.executemany(sql.COUNT_REFUSALS, rows)


def keep_bodies(op: Bodies, db: Db, at: int) -> None:
    db.execute(sql.KEEP_BODIES, (op.call_id, op.request, op.response, op.request_cut, op.response_cut))
