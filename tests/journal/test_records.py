"""Pruning, erasing, counting and keeping: the promises of ``port.Store``, asked of every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from proxy.call import Opening, Role
from proxy.errors import BadRequest, NotFound
from proxy.journal.listing import CallFilter, Listings
from proxy.journal.listing_sql import first_id
from proxy.journal.memory import MemoryStore
from proxy.journal.port import (
    Balance,
    Bodies,
    Closed,
    Erased,
    Exhausted,
    KeyRow,
    NewUser,
    Noted,
    Pruned,
    RefusalCount,
    Refuse,
    Rotation,
    Store,
)
from proxy.journal.sqlite import open_sqlite
from tests.journal.contract import OPENING, USER, answered, facts, fresh_database, grant, offer, reserve

START = 1_700_000_000_000
MINUTE = 60_000


class Ledger(Store, Listings, Protocol):
    """A store that lists."""


class Wound:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Wound:
    return Wound()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Wound) -> AsyncIterator[Ledger]:
    made: Ledger
    if request.param == "memory":
        made = MemoryStore(now_ms=clock)
    else:
        made = await open_sqlite(fresh_database(tmp_path), durability="relaxed", owner="memory", now_ms=clock)
    yield made
    assert await made.verify() == []
    await made.aclose()


def at(ms: int, n: int = 0) -> str:
    """The id of a call that arrived at ``ms``."""
    return f"{first_id(ms)}-7{n:03x}-8000-000000000000"


async def run(store: Ledger, call_id: str, points: int = 3, account: str = USER) -> None:
    await store.reserve(reserve(call_id, offer(points), account=account, workspace="acme", prospect="p-7"))
    await store.close(answered(call_id, points))


async def ids(store: Ledger) -> list[str]:
    return [row["id"] for row in await store.calls(CallFilter())]


# --- pruning ----------------------------------------------------------------------------------------------------------


async def test_old_calls_are_pruned_oldest_first_and_the_balance_stays(store: Ledger, clock: Wound) -> None:
    made = [at(START + n * MINUTE) for n in range(5)]
    for n, call_id in enumerate(made):
        clock.ms = START + n * MINUTE
        await run(store, call_id)
    assert await store.prune(START + 3 * MINUTE, rows_max=2) == Pruned(calls=2, counts=0)
    assert await ids(store) == made[:1:-1]
    assert await store.prune(START + 3 * MINUTE, rows_max=2) == Pruned(calls=1, counts=0)
    assert await store.prune(START + 3 * MINUTE, rows_max=2) == Pruned(calls=0, counts=0)
    assert await ids(store) == made[:2:-1]
    assert await store.balance(USER) == Balance(account=USER, plan="free", balance=10, held=0)
    assert [row.call_id for row in await store.entries(USER)] == [*made[::-1], None]
    assert await store.verify() == []


async def test_a_refunded_call_is_pruned_with_what_it_was_given_back(store: Ledger, clock: Wound) -> None:
    await run(store, at(START, 1), 10)
    await run(store, at(START, 2), 5)
    clock.ms += MINUTE
    await store.withdraw(at(START, 1))
    assert await store.prune(clock.ms, rows_max=100) == Pruned(calls=2, counts=0)
    assert await store.verify() == []


async def test_refused_calls_are_pruned_and_open_ones_never(store: Ledger, clock: Wound) -> None:
    await store.refuse(Refuse(facts=facts(at(START, 1), "main/nobody"), error="x", message="x"))
    await store.reserve(reserve(at(START, 2)))
    clock.ms += MINUTE
    assert (await store.prune(clock.ms, rows_max=100)).calls == 1
    assert await ids(store) == [at(START, 2)]
    await store.close(answered(at(START, 2)))
    assert (await store.prune(clock.ms, rows_max=100)).calls == 0  # it was closed only now
    assert (await store.prune(clock.ms + 1, rows_max=100)).calls == 1


async def test_a_close_or_a_withdrawal_of_a_pruned_call_takes_and_gives_nothing(store: Ledger, clock: Wound) -> None:
    await run(store, at(START))
    clock.ms += MINUTE
    await store.prune(clock.ms, rows_max=100)
    await store.withdraw(at(START))
    with pytest.raises(NotFound):
        await store.close(answered(at(START)))
    assert await store.balance(USER) == Balance(account=USER, plan="free", balance=22, held=0)


# --- erasing ----------------------------------------------------------------------------------------------------------


async def erase(store: Ledger, account: str, pseudonym: str = "erased-1") -> Erased:
    erased = await store.erase_user(account, pseudonym)
    while (await store.erase_calls(2)).more:
        pass
    return erased


def key(key_id: str, user: str | None = "alice", namespace: str = "main") -> KeyRow:
    return KeyRow(
        id=key_id,
        mac=b"\x01",
        role=Role.USER if user else Role.SERVICE,
        namespace=namespace,
        user=user,
        workspace="acme",
        operations=None,
        models=("gpt-4o",),
        actions=None,
        name="alice's laptop",
        created_at=1,
    )


async def test_an_erased_user_has_another_name_everywhere_and_the_same_points(store: Ledger) -> None:
    await store.create_user(NewUser(account=USER, opening=OPENING))
    await store.grant(replace(grant(9, source_ref="alice-order"), reason="for alice"))
    for n in range(5):
        await run(store, at(START, n))
    await store.refuse(Refuse(facts=facts(at(START, 7), action="alice"), error="x", message="no model alice"))
    await run(store, at(START, 8), account="main/bob")
    before = await store.entries(USER)
    assert await erase(store, USER) == Erased(pseudonym="erased-1", keys=())
    assert await store.balance(USER) is None
    assert (await store.grants(USER), await store.entries(USER)) == ([], [])
    assert await store.balance("main/erased-1") == Balance(account="main/erased-1", plan="free", balance=19, held=0)
    assert [replace(row, account=USER) for row in await store.entries("main/erased-1")] == before
    rows = await store.calls(CallFilter(account="main/erased-1"))
    assert len(rows) == 6
    assert {(row["user_id"], row["workspace"], row["prospect"], row["error_message"]) for row in rows} == {
        ("erased-1", None, None, None)
    }
    everything = [rows, await store.users(), await store.grants("main/erased-1"), await store.usage(("user",))]
    assert "alice" not in repr(everything)
    (bobs,) = await store.calls(CallFilter(account="main/bob"))
    assert (bobs["workspace"], bobs["prospect"]) == ("acme", "p-7")


async def test_the_keys_of_an_erased_user_are_revoked_and_nameless_and_others_stay(store: Ledger) -> None:
    others = [key("k2", "bob"), key("k3", None), key("k4", "alice", "shop")]
    for row in (key("k1"), *others):
        await store.create_key(row)
    assert await erase(store, USER) == Erased(pseudonym="erased-1", keys=("k1",))
    erased = await store.key("k1")
    assert erased is not None
    assert erased.revoked_at is not None
    assert (erased.user, erased.workspace, erased.name) == ("erased-1", None, None)
    assert [await store.key(other.id) for other in others] == others


async def test_a_user_with_running_calls_is_not_erased(store: Ledger) -> None:
    await store.create_key(key("k1"))
    await store.reserve(reserve("c1"))
    with pytest.raises(BadRequest, match="1 calls running") as refused:
        await store.erase_user(USER, "erased-1")
    assert refused.value.reason == "calls_open"
    assert await store.key("k1") == key("k1")
    assert (await store.balance(USER)) is not None
    await store.close(answered("c1"))
    assert (await erase(store, USER)).pseudonym == "erased-1"


async def test_erasing_twice_or_nobody_changes_nothing(store: Ledger) -> None:
    await run(store, "c1")
    await erase(store, USER)
    assert await erase(store, USER, "erased-2") == Erased(pseudonym=None, keys=())
    assert await erase(store, "main/nobody", "erased-3") == Erased(pseudonym=None, keys=())
    assert [row.user for row in await store.users()] == ["erased-1"]


async def test_a_user_of_an_erased_name_is_another_one(store: Ledger) -> None:
    await run(store, "c1", 25)
    await erase(store, USER)
    await run(store, "c2", 5)
    assert await store.balance(USER) == Balance(account=USER, plan="free", balance=20, held=0)
    await erase(store, USER, "erased-2")
    assert [(row.user, row.balance) for row in await store.users()] == [("erased-1", 0), ("erased-2", 20)]
    assert [row["account"] for row in await store.calls(CallFilter())] == ["main/erased-2", "main/erased-1"]


async def test_a_refund_after_an_erasure_goes_to_the_account_that_paid(store: Ledger) -> None:
    await run(store, "c1", 10)
    await store.erase_user(USER, "erased-1")
    await run(store, "c2", 5)  # another alice
    await store.withdraw("c1")
    assert [(row.user, row.balance) for row in await store.users()] == [("alice", 20), ("erased-1", 25)]
    while (await store.erase_calls(2)).more:
        pass


async def test_a_payment_of_an_erased_user_is_known_when_it_comes_again(store: Ledger) -> None:
    await store.create_user(NewUser(account=USER, opening=OPENING))
    await store.grant(grant(5, source_ref="order-1"))
    await erase(store, USER)
    await store.create_user(NewUser(account=USER, opening=OPENING))
    with pytest.raises(BadRequest, match="another grant"):
        await store.grant(grant(5, source_ref="order-1"))


async def test_what_only_refused_calls_know_of_a_user_is_erased(store: Ledger) -> None:
    await store.refuse(Refuse(facts=facts("c1", "main/carl"), error="x", message="carl"))
    assert await erase(store, "main/carl") == Erased(pseudonym="erased-1", keys=())
    row = await store.call("c1")
    assert row is not None
    assert "carl" not in repr(row)


async def test_what_was_pruned_before_an_erasure_still_balances(store: Ledger, clock: Wound) -> None:
    await run(store, at(START, 1))
    await run(store, at(START, 2))
    clock.ms += MINUTE
    await store.prune(clock.ms, rows_max=1)
    await erase(store, USER)
    assert (await store.prune(clock.ms, rows_max=100)).calls == 1
    assert await store.verify() == []


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_rotated_key_has_the_same_rights_and_the_old_one_is_revoked(store: Ledger, clock: Wound) -> None:
    await store.create_key(key("k1"))
    fresh = await store.rotate_key(Rotation(key_id="k1", fresh_id="k2", mac=b"\x02", created_at=7))
    assert fresh == replace(key("k1"), id="k2", mac=b"\x02", created_at=7)
    assert await store.key("k2") == fresh
    assert await store.key("k1") == replace(key("k1"), revoked_at=clock.ms)


async def test_a_key_rotated_with_grace_expires_later_or_is_revoked_at_once_when_asked(
    store: Ledger, clock: Wound
) -> None:
    await store.create_key(key("k1"))
    await store.rotate_key(Rotation(key_id="k1", fresh_id="k2", mac=b"\x02", created_at=7, grace_ms=MINUTE))
    old = replace(key("k1"), expires_at=clock.ms + MINUTE)
    assert await store.key("k1") == old
    assert await store.revoke_key("k1") is True
    assert await store.key("k1") == replace(old, revoked_at=clock.ms)


async def test_a_key_that_is_not_there_or_over_is_not_rotated(store: Ledger) -> None:
    await store.create_key(key("k1"))
    rotation = Rotation(key_id="k1", fresh_id="k2", mac=b"\x02", created_at=7, grace_ms=MINUTE)
    await store.rotate_key(rotation)
    with pytest.raises(BadRequest, match="replaced already"):
        await store.rotate_key(replace(rotation, fresh_id="k3"))
    with pytest.raises(NotFound, match="no key"):
        await store.rotate_key(replace(rotation, key_id="k9"))
    assert [row.id for row in await store.keys()] == ["k1", "k2"]


# --- refusals, bodies -------------------------------------------------------------------------------------------------


def counted(minute: int, count: int, source: str = "k1", reason: str = "insufficient_energy") -> RefusalCount:
    return RefusalCount(minute=minute, source=source, reason=reason, count=count)


async def test_counts_of_refusals_add_up_and_are_pruned(store: Ledger) -> None:
    first, second = START, START + MINUTE
    await store.count_refusals([counted(first, 3), counted(first, 2, source="")])
    await store.count_refusals([counted(first, 4), counted(second, 1), counted(second, 1, reason="model_not_found")])
    assert list(await store.refusals()) == [
        counted(second, 1, reason="model_not_found"),
        counted(second, 1),
        counted(first, 7),
        counted(first, 2, source=""),
    ]
    assert list(await store.refusals(until_ms=second, limit=1)) == [counted(first, 7)]
    assert len(await store.refusals(since_ms=second)) == 2
    assert await store.prune(second, rows_max=1) == Pruned(calls=0, counts=1)
    assert await store.prune(second, rows_max=1) == Pruned(calls=0, counts=1)
    assert [row.minute for row in await store.refusals()] == [second, second]


async def test_a_reserve_that_is_only_to_be_counted_leaves_no_row_when_it_is_refused(store: Ledger) -> None:
    poor = replace(reserve("c1", opening=Opening("free", 2)), if_refused=Noted.COUNT)
    assert await store.reserve(poor) == Exhausted(required=3, available=2)
    assert await store.call("c1") is None
    rich = replace(reserve("c2", offer(2)), if_refused=Noted.COUNT)
    await store.reserve(rich)
    assert await store.close(answered("c2", 2)) == Closed(charged=2, remaining=0)


async def test_bodies_are_kept_once_and_go_with_their_call(store: Ledger, clock: Wound) -> None:
    kept = Bodies(call_id=at(START, 1), request='{"a":1}', response=None, response_cut=True)
    await store.keep_bodies(kept)
    assert await store.bodies(kept.call_id) is None  # no such call yet
    await run(store, kept.call_id)
    await store.keep_bodies(kept)
    await store.keep_bodies(replace(kept, request="other"))
    assert await store.bodies(kept.call_id) == kept
    await run(store, at(START, 2), account="main/bob")
    bobs = replace(kept, call_id=at(START, 2))
    await store.keep_bodies(bobs)
    await erase(store, USER)
    assert await store.bodies(kept.call_id) is None
    assert await store.bodies(bobs.call_id) == bobs
    clock.ms += MINUTE
    await store.prune(clock.ms, rows_max=100)
    assert await store.bodies(bobs.call_id) is None
