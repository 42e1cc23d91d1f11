"""The ledger in memory: the twin of the SQLite one for tests, in plain Python, with the same answers and the same rows."""

from __future__ import annotations

import asyncio
import itertools
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import orjson

from proxy.call import NO_PLAN, How, Opening
from proxy.errors import JournalUnavailable, NotFound, OrchError
from proxy.journal.clock import Clock, unix_ms
from proxy.journal.memory_listing import AccountRow, EntryOf, GrantOf
from proxy.journal.memory_records import MemoryRecords
from proxy.journal.port import (
    CALL_COLUMNS,
    Balance,
    Bodies,
    CallFacts,
    Close,
    Closed,
    Exhausted,
    Grant,
    KeyRow,
    NewUser,
    Noted,
    Refuse,
    Reserve,
    Reserved,
    Violation,
)
from proxy.journal.rules import (
    PRIORITY,
    check_grant,
    erased_ref,
    key_exists,
    no_account,
    opening_ref,
    other_grant,
    user_exists,
)

R = TypeVar("R")


class MemoryStore(MemoryRecords):
    """An implementation of ``port.Store``: every operation is done when its method returns."""

    def __init__(self, *, owner: str = "memory", now_ms: Callable[[], int] = unix_ms) -> None:
        self._owner = owner
        self._now_ms = Clock(now_ms)
        self._accounts: dict[str, AccountRow] = {}
        self._grants: list[GrantOf] = []
        self._entries: list[EntryOf] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, KeyRow] = {}
        self._policies: dict[str, dict[str, str]] = {}
        self._pruned: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[tuple[int, str, str]] = Counter()
        self._bodies: dict[str, Bodies] = {}
        self._closed = False

    def reserve(self, op: Reserve) -> Future[Reserved | Exhausted]:
        return self._do(lambda: self._reserve(op))

    def raise_hold(self, call_id: str, *, points: int, points_if_unknown: int) -> Future[bool]:
        return self._do(lambda: self._raise_hold(call_id, points, points_if_unknown))

    def close(self, op: Close) -> Future[Closed]:
        return self._do(lambda: self._close(op))

    def withdraw(self, call_id: str) -> Future[None]:
        return self._do(lambda: self._withdraw(call_id))

    def refuse(self, op: Refuse) -> Future[None]:
        refused = {"error": op.error, "error_message": op.message}
        return self._do(lambda: self._write(op.facts, state="refused", **refused))

    def create_user(self, op: NewUser) -> Future[Balance]:
        return self._do(lambda: self._create_user(op))

    def grant(self, op: Grant) -> Future[Balance]:
        return self._do(lambda: self._grant(op))

    def create_key(self, row: KeyRow) -> Future[None]:
        return self._do(lambda: self._create_key(row))

    def revoke_key(self, key_id: str) -> Future[bool]:
        return self._do(lambda: self._revoke_key(key_id))

    def keep_policy_version(self, version: str, files: Mapping[str, str]) -> Future[None]:
        return self._do(lambda: self._keep(version, files))

    async def balance(self, account: str) -> Balance | None:
        return self._shown(account) if account in self._accounts else None

    async def call(self, call_id: str) -> Mapping[str, Any] | None:
        row = self._calls.get(call_id)
        return None if row is None else dict(row)

    async def key(self, key_id: str) -> KeyRow | None:
        return self._keys.get(key_id)

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]:
        rows = [row for row in self._keys.values() if namespace in (None, row.namespace)]
        return sorted(rows, key=lambda row: (row.created_at, row.id))

    async def verify(self) -> Sequence[Violation]:
        return [*self._broken_accounts(), *self._broken_calls(), *self._broken_pruned()]

    async def healthy(self) -> bool:
        return not self._closed

    async def aclose(self) -> None:
        self._closed = True

    def _do(self, work: Callable[[], R]) -> Future[R]:
        future: Future[R] = asyncio.get_running_loop().create_future()
        try:
            if self._closed:
                raise JournalUnavailable("the ledger is closed")
            future.set_result(work())
        except (OrchError, AssertionError) as error:
            future.set_exception(error)
        return future

    # --- calls --------------------------------------------------------------------------------------------------------

    def _reserve(self, op: Reserve) -> Reserved | Exhausted:
        account = op.facts.account
        if op.facts.id in self._calls:
            return self._as_the_first_time(op)
        fits = self._first_that_fits(op)
        if fits is None and self._opened(account, op.opening):
            fits = self._first_that_fits(op)
        available = self._shown(account).available
        if fits is None:
            required = min(offer.points for offer in op.offers)
            turned_on = {"points_required": required, "points_available": available, "error": "insufficient_energy"}
            if op.if_refused is Noted.ROW:
                self._write(op.facts, state="refused", **turned_on)
            return Exhausted(required=required, available=available)
        offer = op.offers[fits]
        self._accounts[account].held += offer.points
        self._write(
            op.facts,
            state="open",
            model=offer.model,
            points_held=offer.points,
            points_if_unknown=offer.points_if_unknown,
            points_required=op.offers[0].points,
            points_available=available,
            downgraded_from=op.offers[0].model if fits else None,
            owner=self._owner,
        )
        return Reserved(offer=fits, remaining=available - offer.points)

    def _first_that_fits(self, op: Reserve) -> int | None:
        if op.facts.account not in self._accounts:
            return None
        available = self._shown(op.facts.account).available
        return next((index for index, offer in enumerate(op.offers) if offer.points <= available), None)

    def _as_the_first_time(self, op: Reserve) -> Reserved | Exhausted:
        row = self._calls[op.facts.id]
        assert row["account"] == op.facts.account, f"call {op.facts.id} belongs to another account"
        if row["state"] == "closed":
            raise JournalUnavailable(f"call {op.facts.id} has been closed already")
        if row["state"] == "refused":
            return Exhausted(required=row["points_required"] or 0, available=row["points_available"] or 0)
        index = next(index for index, offer in enumerate(op.offers) if offer.model == row["model"])
        return Reserved(offer=index, remaining=self._shown(op.facts.account).available)

    def _write(self, facts: CallFacts, **columns: Any) -> None:
        if facts.id in self._calls:
            return
        namespace, _, user = facts.account.partition("/")
        asked = asdict(facts) | {"namespace": namespace, "user_id": user, "stream": int(facts.stream)}
        at = self._now_ms()
        times = {"created_at": at, "closed_at": at if columns["state"] == "refused" else None}
        self._calls[facts.id] = dict.fromkeys(CALL_COLUMNS) | UNCHARGED | asked | times | columns

    def _raise_hold(self, call_id: str, points: int, points_if_unknown: int) -> bool:
        row = self._calls.get(call_id)
        if row is None or row["state"] != "open":
            raise JournalUnavailable(f"call {call_id} is not open")
        account = self._accounts[row["account"]]
        more = points - row["points_held"]
        if more <= 0:
            return True
        if more > account.balance - account.held:
            return False
        account.held += more
        row.update(points_held=points, points_if_unknown=points_if_unknown)
        return True

    def _close(self, op: Close) -> Closed:
        row = self._calls.get(op.call_id)
        if row is None:
            raise NotFound(f"no call {op.call_id}")
        account = self._accounts.get(row["account"])
        if row["state"] != "open" or account is None:
            left = 0 if account is None else account.balance - account.held
            return Closed(charged=row["points_charged"] - row["points_refunded"], remaining=left, already=True)
        charged, held = op.points_charged, row["points_held"]
        assert 0 <= charged <= held, f"call {op.call_id}: a charge of {charged} on a hold of {held}"
        account.held -= held
        account.balance -= charged
        self._burn(row["account"], charged, op.call_id)
        row.update(_ended(op), model=op.model or row["model"], state="closed", closed_at=self._now_ms())
        return Closed(charged=charged, remaining=account.balance - account.held)

    def _burn(self, account: str, points: int, call_id: str) -> None:
        mine = [grant for grant in self._grants if grant.op.account == account and grant.remaining]
        balance, at, n = self._accounts[account].balance + points, self._now_ms(), itertools.count()
        for grant in sorted(mine, key=lambda grant: (PRIORITY[grant.op.kind], grant.id)):
            part = min(points, grant.remaining)
            if part:
                points, balance = points - part, balance - part
                grant.change(-part, at)
                self._note(f"settle:{call_id}:{next(n)}", grant, -part, balance_after=balance, at=at)
        assert points == 0, f"account {account}: its grants are {points} points short of its balance"

    def _withdraw(self, call_id: str) -> None:
        row = self._calls.get(call_id)
        if row is None:
            return
        if row["state"] == "open":
            self._close(Close(call_id=call_id, how=How.NOT_RECORDED, points_charged=0, error=How.NOT_RECORDED))
            return
        if row["points_charged"] > row["points_refunded"]:
            self._refund(row)

    def _refund(self, row: dict[str, Any]) -> None:
        burnt = [entry for entry in self._entries if entry.kind == "settle" and entry.call_id == row["id"]]
        account, at = self._accounts[row["account"]], self._now_ms()
        for n, entry in enumerate(burnt):
            account.balance -= entry.points
            entry.grant.change(-entry.points, at)
            ref = f"refund:{row['id']}:{n}"
            self._note(ref, entry.grant, -entry.points, balance_after=account.balance, at=at)
        row.update(points_refunded=row["points_charged"], how=How.NOT_RECORDED.value)

    # --- accounts and keys --------------------------------------------------------------------------------------------

    def _opened(self, account: str, opening: Opening) -> bool:
        found = self._accounts.get(account)
        if found is None:
            self._open(account, opening)
            return True
        if found.plan != NO_PLAN or opening.plan == NO_PLAN:
            return False
        found.plan = opening.plan
        if opening.points:
            ref = opening_ref(found.number)
            self._add(Grant(account=account, points=opening.points, kind="plan", source_ref=ref))
        return True

    def _open(self, account: str, opening: Opening) -> None:
        number = len(self._accounts) + 1
        self._accounts[account] = AccountRow(number, opening.plan, created_at=self._now_ms())
        if opening.points:
            self._add(Grant(account=account, points=opening.points, kind="plan", source_ref=opening_ref(number)))

    def _add(self, op: Grant) -> None:
        account, at = self._accounts[op.account], self._now_ms()
        grant = GrantOf(len(self._grants) + 1, op, op.points, created_at=at)
        account.balance += op.points
        self._grants.append(grant)
        self._note(f"grant:{grant.id}", grant, op.points, balance_after=account.balance, at=at)

    def _note(self, op_ref: str, grant: GrantOf, points: int, *, balance_after: int, at: int) -> None:
        kind = op_ref.partition(":")[0]
        entry = EntryOf(kind=kind, op_ref=op_ref, grant=grant, points=points, balance_after=balance_after, at=at)
        self._entries.append(entry)

    def _create_user(self, op: NewUser) -> Balance:
        found = self._accounts.get(op.account)
        if found is None:
            self._open(op.account, op.opening)
            return self._shown(op.account)
        first = self._granted(opening_ref(found.number))
        if Opening(found.plan, first.points if first else 0) != op.opening:
            raise user_exists(op.account)
        return self._shown(op.account)

    def _grant(self, op: Grant) -> Balance:
        check_grant(op)
        if op.account not in self._accounts:
            raise no_account(op.account)
        before = self._granted(op.source_ref) or self._granted(op.source_ref and erased_ref(op.source_ref))
        if before is None:
            self._add(op)
        elif (before.account, before.points, before.kind) != (op.account, op.points, op.kind):
            raise other_grant(op)
        return self._shown(op.account)

    def _granted(self, source_ref: str | None) -> Grant | None:
        if source_ref is None:
            return None
        return next((grant.op for grant in self._grants if grant.op.source_ref == source_ref), None)

    def _shown(self, account: str) -> Balance:
        found = self._accounts[account]
        return Balance(account=account, plan=found.plan, balance=found.balance, held=found.held)

    def _create_key(self, row: KeyRow) -> None:
        if row.id in self._keys:
            raise key_exists(row.id)
        self._keys[row.id] = row

    def _revoke_key(self, key_id: str) -> bool:
        row = self._keys.get(key_id)
        if row is None:
            return False
        if row.revoked_at is None:
            self._keys[key_id] = replace(row, revoked_at=self._now_ms())
        return True

    def _keep(self, version: str, files: Mapping[str, str]) -> None:
        self._policies.setdefault(version, dict(files))

    # --- the invariants -----------------------------------------------------------------------------------------------

    def _broken_accounts(self) -> Iterable[Violation]:
        for name, account in self._accounts.items():
            entries = sum(entry.points for entry in self._entries if entry.account == name)
            grants = sum(grant.remaining for grant in self._grants if grant.op.account == name)
            open_calls = sum(
                row["points_held"] for row in self._calls.values() if (row["account"], row["state"]) == (name, "open")
            )
            if not (account.balance == entries == grants and account.held == open_calls <= account.balance):
                yield Violation("balance and held", name, f"{account}, {entries=}, {grants=}, {open_calls=}")

    def _broken_calls(self) -> Iterable[Violation]:
        for row in self._calls.values():
            settled = -self._sum(row["id"], "settle")
            refunded = self._sum(row["id"], "refund")
            charged = row["points_charged"]
            if not (charged == settled <= row["points_held"] and row["points_refunded"] == refunded <= charged):
                yield Violation("charge and refund", row["id"], f"{settled=}, {refunded=}, {row}")

    def _broken_pruned(self) -> Iterable[Violation]:
        without_call: Counter[tuple[str, str]] = Counter()
        for entry in self._entries:
            if entry.call_id is not None and entry.call_id not in self._calls:
                without_call[entry.account, entry.kind] += abs(entry.points)
        for one in {*without_call, *self._pruned}:
            if without_call[one] != self._pruned[one]:
                yield Violation("entries without a call", str(one), f"{without_call[one]}, pruned {self._pruned[one]}")

    def _sum(self, call_id: str, kind: str) -> int:
        return sum(entry.points for entry in self._entries if (entry.call_id, entry.kind) == (call_id, kind))


UNCHARGED = {
    "points_held": 0,
    "points_if_unknown": 0,
    "points_charged": 0,
    "points_refunded": 0,
    "usage_estimated": 0,
}


def _ended(op: Close) -> dict[str, Any]:
    columns = asdict(op) | {"usage_estimated": int(op.usage_estimated), "how": str(op.how)}
    columns |= {"attempts": _json(op.attempts), "finish_reasons": _json(op.finish_reasons)}
    del columns["call_id"]
    return columns


def _json(items: Sequence[object]) -> str:
    return orjson.dumps(items).decode()
