"""What each operation does to the SQLite ledger: one function an operation, inside the writer's transaction.

Every function takes the operation, then ``db`` (a cursor in a BEGIN IMMEDIATE transaction) and ``at`` (Unix ms of the
batch). What it raises undoes the operation and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from proxy.call import NO_PLAN, How, Opening
from proxy.errors import JournalUnavailable, NotFound
from proxy.journal import statements as sql
from proxy.journal.port import (
    Balance,
    CallFacts,
    Close,
    Closed,
    Exhausted,
    Grant,
    NewUser,
    Noted,
    Refuse,
    Reserve,
    Reserved,
)
from proxy.journal.rules import PRIORITY, check_grant, erased_ref, no_account, opening_ref, other_grant, user_exists

Db = sqlite3.Cursor


def reserve(op: Reserve, owner: str, db: Db, at: int) -> Reserved | Exhausted:
    """Hold the first offer the balance pays and insert the open call; else insert it as refused."""
    account = op.facts.account
    taken = _hold_first(op, db)
    if taken is None and _opened(account, op.opening, db, at):
        taken = _hold_first(op, db)
    if taken is None:
        return _exhausted(op, db, at)
    index, remaining, payer = taken
    offer = op.offers[index]
    row = (
        *_asked(op.facts),
        payer,
        offer.model,
        offer.points,
        offer.points_if_unknown,
        op.offers[0].points,
        remaining + offer.points,
        op.offers[0].model if index else None,
        owner,
        at,
    )
    if db.execute(sql.OPEN_CALL, row).rowcount:
        return Reserved(offer=index, remaining=remaining)
    db.execute(sql.UNHOLD, (offer.points, payer))
    return _as_the_first_time(op, db)


def _opened(account: str, opening: Opening, db: Db, at: int) -> bool:
    """Open the account, or give one that only unpriced calls opened its plan; False: it has its plan already."""
    found = db.execute(sql.READ_ACCOUNT, (account,)).fetchone()
    if found is None:
        open_account(account, opening, db, at)
        return True
    plan, _, _, number = found
    if plan != NO_PLAN or opening.plan == NO_PLAN:
        return False
    db.execute(sql.TAKE_PLAN, (opening.plan, number))
    if opening.points:
        _add(Grant(account=account, points=opening.points, kind="plan", source_ref=opening_ref(number)), number, db, at)
    return True


def _hold_first(op: Reserve, db: Db) -> tuple[int, int, int] | None:
    """Index of the offer held, the points left to use and the account's number; None: the balance pays none of them."""
    account = op.facts.account
    for index, offer in enumerate(op.offers):
        row = db.execute(sql.HOLD, (offer.points, account, offer.points)).fetchone()
        if row is not None:
            return index, *row
    return None


def _exhausted(op: Reserve, db: Db, at: int) -> Reserved | Exhausted:
    _, balance, held, _ = db.execute(sql.READ_ACCOUNT, (op.facts.account,)).fetchone()
    answer = Exhausted(required=min(offer.points for offer in op.offers), available=balance - held)
    if op.if_refused is Noted.COUNT:
        return answer
    refused = ("insufficient_energy", None)
    row = (*_asked(op.facts), answer.required, answer.available, *refused, at, at)
    if db.execute(sql.REFUSE_CALL, row).rowcount:
        return answer
    return _as_the_first_time(op, db)


def _as_the_first_time(op: Reserve, db: Db) -> Reserved | Exhausted:
    """The answer to a reserve whose commit nobody heard of: nothing changes. Raises JournalUnavailable when it was ended."""
    payer, state, model, _, _, _, required, available, account = db.execute(sql.READ_CALL, (op.facts.id,)).fetchone()
    assert account == op.facts.account, f"call {op.facts.id} belongs to another account"
    if state == "closed":
        raise JournalUnavailable(f"call {op.facts.id} has been closed already")
    if state == "refused":
        return Exhausted(required=required or 0, available=available or 0)
    index = next(index for index, offer in enumerate(op.offers) if offer.model == model)
    balance, held = db.execute(sql.READ_POINTS, (payer,)).fetchone()
    return Reserved(offer=index, remaining=balance - held)


def _asked(facts: CallFacts) -> tuple[str | int | None, ...]:
    """The columns of ``calls`` that are known when its row is written, as OPEN_CALL and REFUSE_CALL begin."""
    namespace, _, user = facts.account.partition("/")
    return (
        facts.id,
        facts.account,
        namespace,
        user,
        facts.workspace,
        facts.prospect,
        facts.key_id,
        facts.operation,
        facts.action,
        facts.requested_model,
        facts.stream,
        facts.policy_version,
        facts.price_version,
    )


def raise_hold(call_id: str, points: int, points_if_unknown: int, db: Db, at: int) -> bool:
    """Hold the difference too; False, with nothing changed, when the balance does not pay it."""
    row = db.execute(sql.READ_CALL, (call_id,)).fetchone()
    if row is None or row[1] != "open":
        raise JournalUnavailable(f"call {call_id} is not open")
    payer, _, _, held, *_ = row
    more = points - held
    if more <= 0:
        return True
    if db.execute(sql.HOLD_MORE, (more, payer, more)).fetchone() is None:
        return False
    db.execute(sql.RAISE_CALL, (points, points_if_unknown, call_id))
    return True


def close(op: Close, db: Db, at: int) -> Closed:
    """Settle or void. Raises NotFound for a call that has no row.

    A charge outside the hold breaks a CHECK of the table, which the caller hears as an AssertionError: our bug.
    """
    charged = op.points_charged
    row = db.execute(sql.CLOSE_CALL, _ended(op, at)).fetchone()
    if row is None:
        return _closed_before(op.call_id, db)
    payer, held = row
    balance, still_held = db.execute(sql.SETTLE, (held, charged, payer)).fetchone()
    if charged:
        _burn(op.call_id, payer, charged, balance, db, at)
    return Closed(charged=charged, remaining=balance - still_held)


def _ended(op: Close, at: int) -> tuple[str | int | None, ...]:
    return (
        op.how,
        op.points_charged,
        op.model,
        op.upstream,
        op.provider,
        op.upstream_model,
        op.input_tokens,
        op.output_tokens,
        op.cached_input_tokens,
        op.usage_estimated,
        op.cost_nanousd,
        json_list(op.finish_reasons),
        json_list(op.attempts),
        op.error,
        op.first_content_ms,
        op.duration_ms,
        at,
        op.call_id,
    )


def json_list(items: Sequence[object]) -> str:
    return orjson.dumps(items).decode() if items else "[]"


def _closed_before(call_id: str, db: Db) -> Closed:
    row = db.execute(sql.READ_CALL, (call_id,)).fetchone()
    if row is None:
        raise NotFound(f"no call {call_id}")
    *_, charged, refunded, _, _, account = row
    found = db.execute(sql.READ_ACCOUNT, (account,)).fetchone()
    remaining = 0 if found is None else found[1] - found[2]  # a refused caller may have no account
    return Closed(charged=charged - refunded, remaining=remaining, already=True)


def _burn(call_id: str, account: int, points: int, balance: int, db: Db, at: int) -> None:
    """Take ``points`` from the grants in burn order, an entry for each touched; ``balance`` is the one afterwards."""
    first = db.execute(sql.BURN_FIRST, (points, account)).fetchone()
    if first is not None:
        db.execute(sql.ADD_ENTRY, (f"settle:{call_id}:0", call_id, account, first[0], "settle", -points, balance, at))
        return
    left = points
    for n, (grant, remaining) in enumerate(db.execute(sql.LIVE_GRANTS, (account,)).fetchall()):
        part = min(left, remaining)
        left -= part
        if part == remaining:
            db.execute(sql.USE_UP, (at, grant))
        else:
            db.execute(sql.BURN, (part, grant))
        entry = (f"settle:{call_id}:{n}", call_id, account, grant, "settle", -part, balance + left, at)
        db.execute(sql.ADD_ENTRY, entry)
        if not left:
            return
    raise AssertionError(f"account {account}: its grants are {left} points short of its balance")


def withdraw(call_id: str, db: Db, at: int) -> None:
    """Void an open call, give back what a closed one was charged; nothing to do for one that never got a row."""
    row = db.execute(sql.READ_CALL, (call_id,)).fetchone()
    if row is None:
        return
    payer, state, _, _, charged, refunded, *_ = row
    if state == "open":
        close(Close(call_id=call_id, how=How.NOT_RECORDED, points_charged=0, error=How.NOT_RECORDED), db, at)
        return
    if charged > refunded:
        _refund(call_id, payer, charged, db, at)


def _refund(call_id: str, account: int, points: int, db: Db, at: int) -> None:
    """Give every grant back what the call burnt of it."""
    balance, _, _ = db.execute(sql.DEPOSIT, (points, account)).fetchone()
    below = balance - points
    for n, (grant, part) in enumerate(db.execute(sql.SETTLED, (call_id,)).fetchall()):
        below += part
        db.execute(sql.GIVE_BACK, (part, grant))
        db.execute(sql.ADD_ENTRY, (f"refund:{call_id}:{n}", call_id, account, grant, "refund", part, below, at))
    assert below == balance, (
        f"call {call_id}: refunding {points} points found {points - balance + below} in its entries"
    )
    db.execute(sql.REFUND_CALL, (How.NOT_RECORDED, call_id))


def close_abandoned(calls_max: int, db: Db, at: int) -> int:
    """Close open calls whose process is gone; returns how many, at most ``calls_max``."""
    abandoned = db.execute(sql.ABANDONED, (calls_max,)).fetchall()
    for call_id, points in abandoned:
        close(Close(call_id=call_id, how=How.UNKNOWN, points_charged=points, error="process_died"), db, at)
    return len(abandoned)


def refuse(op: Refuse, db: Db, at: int) -> None:
    db.execute(sql.REFUSE_CALL, (*_asked(op.facts), None, None, op.error, op.message, at, at))


def open_account(account: str, opening: Opening, db: Db, at: int) -> Balance:
    namespace, _, user = account.partition("/")
    (number,) = db.execute(sql.OPEN_ACCOUNT, (account, namespace, user, opening.plan, at)).fetchone()
    if not opening.points:
        return Balance(account=account, plan=opening.plan, balance=0, held=0)
    first = Grant(account=account, points=opening.points, kind="plan", source_ref=opening_ref(number))
    return _add(first, number, db, at)


def create_user(op: NewUser, db: Db, at: int) -> Balance:
    """Open the account. Asking for the same twice is asking once; raises BadRequest when it exists with another opening."""
    found = db.execute(sql.READ_ACCOUNT, (op.account,)).fetchone()
    if found is None:
        return open_account(op.account, op.opening, db, at)
    plan, balance, held, number = found
    first = db.execute(sql.READ_GRANT, (opening_ref(number), None)).fetchone()
    if Opening(plan, first[1] if first else 0) != op.opening:
        raise user_exists(op.account)
    return Balance(account=op.account, plan=plan, balance=balance, held=held)


def grant(op: Grant, db: Db, at: int) -> Balance:
    """Give points, once per ``source_ref``. Raises BadRequest, NotFound."""
    check_grant(op)
    found = db.execute(sql.READ_ACCOUNT, (op.account,)).fetchone()
    if found is None:
        raise no_account(op.account)
    plan, balance, held, number = found
    before = _given_before(op.source_ref, db) if op.source_ref else None
    if before is None:
        return _add(op, number, db, at)
    if before != (number, op.points, op.kind):
        raise other_grant(op)
    return Balance(account=op.account, plan=plan, balance=balance, held=held)


def _given_before(source_ref: str, db: Db) -> tuple[int, int, str] | None:
    """Account, amount and kind of the grant made with it, also to a user who was erased since."""
    found: tuple[int, int, str] | None = db.execute(sql.READ_GRANT, (source_ref, erased_ref(source_ref))).fetchone()
    return found


def _add(op: Grant, number: int, db: Db, at: int) -> Balance:
    row = (number, op.points, op.points, op.kind, PRIORITY[op.kind], op.reason, op.source_ref, at)
    (grant_id,) = db.execute(sql.ADD_GRANT, row).fetchone()
    balance, held, plan = db.execute(sql.DEPOSIT, (op.points, number)).fetchone()
    db.execute(sql.ADD_ENTRY, (f"grant:{grant_id}", None, number, grant_id, "grant", op.points, balance, at))
    return Balance(account=op.account, plan=plan, balance=balance, held=held)
