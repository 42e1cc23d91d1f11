"""What is done to old and unwanted records of the ledger in memory: the twin of ``records`` in plain Python."""

from __future__ import annotations

from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from proxy.journal.memory_listing import MemoryListings
from proxy.journal.port import Bodies, Erased, Erasing, KeyRow, Pruned, RefusalCount, Rotation
from proxy.journal.rules import OWN_REFS, calls_open, erased_ref, key_is_over, no_key

R = TypeVar("R")


class MemoryRecords(MemoryListings):
    """The part of ``port.Store`` that prunes, erases, counts and keeps."""

    _keys: dict[str, KeyRow]
    _pruned: Counter[tuple[str, str]]
    _bodies: dict[str, Bodies]
    _now_ms: Callable[[], int]

    def _do(self, work: Callable[[], R]) -> Future[R]:
        raise NotImplementedError

    def rotate_key(self, op: Rotation) -> Future[KeyRow]:
        return self._do(lambda: self._rotate_key(op))

    def erase_user(self, account: str, pseudonym: str) -> Future[Erased]:
        return self._do(lambda: self._erase_user(account, pseudonym))

    def erase_calls(self, calls_max: int) -> Future[Erasing]:
        return self._do(lambda: Erasing(calls=0, more=False))  # they went with the user

    def scrub(self) -> Future[bool]:
        return self._do(lambda: True)

    def prune(self, before_ms: int, *, rows_max: int) -> Future[Pruned]:
        return self._do(lambda: self._prune(before_ms, rows_max))

    def count_refusals(self, counts: Sequence[RefusalCount]) -> Future[None]:
        return self._do(
            lambda: self._refusals.update({(one.minute, one.source, one.reason): one.count for one in counts})
        )

    def keep_bodies(self, op: Bodies) -> Future[None]:
        return self._do(lambda: self._keep_bodies(op))

    async def bodies(self, call_id: str) -> Bodies | None:
        return self._bodies.get(call_id)

    def _rotate_key(self, op: Rotation) -> KeyRow:
        old = self._keys.get(op.key_id)
        if old is None:
            raise no_key(op.key_id)
        if (old.revoked_at, old.expires_at) != (None, None):
            raise key_is_over(op.key_id)
        now = self._now_ms()
        over = replace(old, expires_at=now + op.grace_ms) if op.grace_ms else replace(old, revoked_at=now)
        self._keys[old.id] = over
        fresh = replace(old, id=op.fresh_id, mac=op.mac, created_at=op.created_at)
        self._keys[fresh.id] = fresh
        return fresh

    def _erase_user(self, account: str, pseudonym: str) -> Erased:
        running = sum(row["state"] == "open" for row in self._calls.values() if row["account"] == account)
        if running:
            raise calls_open(account, running)
        namespace, _, user = account.partition("/")
        fresh = f"{namespace}/{pseudonym}"
        keys = tuple(row.id for row in self._keys.values() if (row.namespace, row.user) == (namespace, user))
        for key_id in keys:
            row = self._keys[key_id]
            nameless = replace(row, user=pseudonym, workspace=None, name=None)
            self._keys[key_id] = replace(nameless, revoked_at=row.revoked_at or self._now_ms())
        found = [*keys, *self._rename_account(account, fresh), *self._rename_calls(account, fresh)]
        return Erased(pseudonym=pseudonym if found else None, keys=keys)

    def _rename_account(self, account: str, fresh: str) -> list[str]:
        if account not in self._accounts:
            return []
        self._accounts[fresh] = self._accounts.pop(account)
        for kind in ("settle", "refund"):
            self._pruned[fresh, kind] = self._pruned.pop((account, kind), 0)
        for grant in self._grants:
            ref = grant.op.source_ref
            if grant.op.account == account:
                kept = ref if ref is None or ref.startswith(OWN_REFS) else erased_ref(ref)
                grant.op = replace(grant.op, account=fresh, reason=None, source_ref=kept)
        return [fresh]

    def _rename_calls(self, account: str, fresh: str) -> list[str]:
        mine = [row for row in self._calls.values() if row["account"] == account]
        for row in mine:
            row.update(
                account=fresh, user_id=fresh.partition("/")[2], workspace=None, prospect=None, error_message=None
            )
            if row["state"] == "refused":
                row.update(action=None, requested_model="")
            self._bodies.pop(row["id"], None)
        return [row["id"] for row in mine]

    def _prune(self, before_ms: int, rows_max: int) -> Pruned:
        rows = sorted(self._calls.values(), key=lambda row: str(row["id"]))
        old = [row for row in rows if row["closed_at"] is not None and row["closed_at"] < before_ms][:rows_max]
        for row in old:
            del self._calls[row["id"]]
            self._bodies.pop(row["id"], None)
            self._pruned[row["account"], "settle"] += row["points_charged"]
            self._pruned[row["account"], "refund"] += row["points_refunded"]
        counts = sorted(key for key in self._refusals if key[0] < before_ms)[:rows_max]
        for key in counts:
            del self._refusals[key]
        return Pruned(calls=len(old), counts=len(counts))

    def _keep_bodies(self, op: Bodies) -> None:
        if op.call_id in self._calls:
            self._bodies.setdefault(op.call_id, op)
