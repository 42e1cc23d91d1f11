"""The promises of ``port.Store``, asked of every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.call import NO_PLAN, Opening, Role
from proxy.errors import BadRequest, JournalUnavailable, NotFound
from proxy.journal.memory import MemoryStore
from proxy.journal.port import Balance, Closed, Exhausted, KeyRow, NewUser, Refuse, Reserved, Store
from proxy.journal.sqlite import open_sqlite
from tests.journal.contract import (
    ECONOMY,
    OPENING,
    PREMIUM,
    USER,
    answered,
    facts,
    fresh_database,
    grant,
    offer,
    reserve,
    ticking,
    without_times,
)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore(now_ms=ticking())
    else:
        path = fresh_database(tmp_path)
        made = await open_sqlite(path, durability="relaxed", owner="memory", now_ms=ticking())
    yield made
    assert await made.verify() == []
    await made.aclose()


async def points(store: Store, account: str = USER) -> tuple[int, int]:
    found = await store.balance(account)
    assert found is not None
    return found.balance, found.held


async def test_the_first_offer_the_balance_pays_is_held(store: Store) -> None:
    assert await store.reserve(reserve("c1")) == Reserved(offer=0, remaining=15)
    assert await store.reserve(reserve("c2")) == Reserved(offer=0, remaining=5)
    assert await store.reserve(reserve("c3")) == Reserved(offer=1, remaining=2)
    assert await points(store) == (25, 23)


async def test_a_downgraded_call_says_from_what_and_why(store: Store) -> None:
    await store.reserve(reserve("c1", opening=Opening("free", 5)))
    row = await store.call("c1")
    assert row is not None
    assert (row["model"], row["downgraded_from"]) == ("gpt-4o-mini", "gpt-4o")
    assert (row["points_held"], row["points_required"], row["points_available"]) == (3, 10, 5)


async def test_no_offer_paid_is_a_recorded_refusal_that_names_the_cheapest(store: Store) -> None:
    assert await store.reserve(reserve("c1", opening=Opening("free", 2))) == Exhausted(required=3, available=2)
    row = await store.call("c1")
    assert row is not None
    assert (row["state"], row["error"], row["points_required"]) == ("refused", "insufficient_energy", 3)
    assert row["closed_at"] == row["created_at"]
    assert await points(store) == (2, 0)


async def test_an_unknown_account_is_opened_once_with_its_plan(store: Store) -> None:
    await store.reserve(reserve("c1", opening=Opening("pro", 100)))
    await store.reserve(reserve("c2", opening=Opening("free", 7)))
    assert await store.balance(USER) == Balance(account=USER, plan="pro", balance=100, held=20)


async def test_an_account_without_points_may_make_free_calls(store: Store) -> None:
    assert await store.reserve(reserve("c1", offer(0), opening=Opening("free", 0))) == Reserved(offer=0, remaining=0)
    assert await store.close(answered("c1", 0)) == Closed(charged=0, remaining=0)


async def test_an_account_that_only_unpriced_calls_opened_gets_its_plan_with_its_first_priced_call(
    store: Store,
) -> None:
    nothing = Opening(NO_PLAN, 0)
    for call_id in ("c1", "c2"):
        assert isinstance(await store.reserve(reserve(call_id, offer(0), opening=nothing)), Reserved)

    taken = await store.reserve(reserve("c3", offer(10)))
    await store.reserve(reserve("c4", offer(0), opening=nothing))

    assert taken == Reserved(offer=0, remaining=15)
    assert await points(store) == (25, 10)
    assert isinstance(await store.reserve(reserve("c5", offer(20))), Exhausted)  # one grant, not one a call


async def test_the_same_reserve_twice_holds_once(store: Store) -> None:
    first = await store.reserve(reserve("c1"))
    assert await store.reserve(reserve("c1")) == first
    assert await points(store) == (25, 10)


async def test_the_same_refused_reserve_twice_is_refused_twice(store: Store) -> None:
    poor = reserve("c1", opening=Opening("free", 2))
    assert await store.reserve(poor) == await store.reserve(poor) == Exhausted(required=3, available=2)


async def test_a_reserve_of_a_call_that_was_closed_does_not_open_it_again(store: Store) -> None:
    await store.reserve(reserve("c1"))
    await store.close(answered("c1"))
    with pytest.raises(JournalUnavailable):
        await store.reserve(reserve("c1"))
    assert await points(store) == (15, 0)


async def test_a_close_takes_the_charge_and_lets_the_hold_go(store: Store) -> None:
    await store.reserve(reserve("c1"))
    assert await store.close(answered("c1", 3)) == Closed(charged=3, remaining=22)
    assert await points(store) == (22, 0)


async def test_a_second_close_changes_nothing_and_says_what_the_first_took(store: Store) -> None:
    await store.reserve(reserve("c1"))
    await store.close(answered("c1", 10))
    assert await store.close(answered("c1", 0, how="failed")) == Closed(charged=10, remaining=15, already=True)
    row = await store.call("c1")
    assert row is not None
    assert row["how"] == "answered"


async def test_a_charge_beyond_the_hold_is_refused_loudly_and_the_call_stays_open(store: Store) -> None:
    await store.reserve(reserve("c1"))
    for wrong in (11, -1):
        with pytest.raises(AssertionError):
            await store.close(answered("c1", wrong))
    assert await points(store) == (25, 10)


async def test_closing_what_was_never_opened_is_an_error(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.close(answered("nobody"))


async def test_closing_a_refused_call_changes_nothing(store: Store) -> None:
    await store.reserve(reserve("c1", opening=Opening("free", 2)))
    assert await store.close(answered("c1", 0)) == Closed(charged=0, remaining=2, already=True)
    await store.refuse(Refuse(facts=facts("c2", "main/nobody"), error="invalid_request", message="no messages"))
    assert await store.close(answered("c2", 0)) == Closed(charged=0, remaining=0, already=True)


async def test_a_withdrawn_open_call_is_void(store: Store) -> None:
    await store.reserve(reserve("c1"))
    await store.withdraw("c1")
    row = await store.call("c1")
    assert row is not None
    assert (row["state"], row["how"], row["points_charged"]) == ("closed", "not_recorded", 0)
    assert await points(store) == (25, 0)


async def test_a_withdrawn_settled_call_is_refunded_once(store: Store) -> None:
    await store.reserve(reserve("c1"))
    await store.close(answered("c1"))
    await store.withdraw("c1")
    await store.withdraw("c1")
    row = await store.call("c1")
    assert row is not None
    assert (row["how"], row["points_charged"], row["points_refunded"]) == ("not_recorded", 10, 10)
    assert await points(store) == (25, 0)
    assert await store.close(answered("c1")) == Closed(charged=0, remaining=25, already=True)


async def test_withdrawing_what_is_not_there_or_was_refused_does_nothing(store: Store) -> None:
    await store.withdraw("nobody")
    await store.reserve(reserve("c1", opening=Opening("free", 2)))
    await store.withdraw("c1")
    assert await points(store) == (2, 0)


async def test_a_charge_burns_the_plan_first_then_the_pack_and_a_refund_fills_both_again(store: Store) -> None:
    await store.create_user(NewUser(account=USER, opening=Opening("free", 4)))
    await store.grant(grant(20, "pack"))
    await store.grant(grant(3, "promo"))
    await store.reserve(reserve("c1"))
    assert (await store.close(answered("c1"))).remaining == 17
    await store.withdraw("c1")
    await store.reserve(reserve("c2", offer(27)))
    assert (await store.close(answered("c2", 27))).remaining == 0


async def test_a_raised_hold_covers_the_dearer_model(store: Store) -> None:
    await store.reserve(reserve("c1", ECONOMY))
    assert await store.raise_hold("c1", points=10, points_if_unknown=4) is True
    assert await points(store) == (25, 10)
    row = await store.call("c1")
    assert row is not None
    assert (row["points_held"], row["points_if_unknown"]) == (10, 4)


async def test_a_hold_is_not_raised_beyond_the_balance_and_never_lowered(store: Store) -> None:
    await store.reserve(reserve("c1", PREMIUM))
    assert await store.raise_hold("c1", points=26, points_if_unknown=0) is False
    assert await store.raise_hold("c1", points=3, points_if_unknown=0) is True
    assert await points(store) == (25, 10)


async def test_a_hold_of_a_call_that_is_not_open_cannot_be_raised(store: Store) -> None:
    await store.reserve(reserve("c1"))
    await store.close(answered("c1"))
    for call_id in ("c1", "nobody"):
        with pytest.raises(JournalUnavailable):
            await store.raise_hold(call_id, points=20, points_if_unknown=0)


async def test_a_grant_counts_once_per_source_ref(store: Store) -> None:
    await store.create_user(NewUser(account=USER, opening=OPENING))
    await store.grant(grant(5, source_ref="order-1"))
    assert (await store.grant(grant(5, source_ref="order-1"))).balance == 30
    for other in (grant(6, source_ref="order-1"), grant(5, "promo", source_ref="order-1")):
        with pytest.raises(BadRequest):
            await store.grant(other)
    assert await points(store) == (30, 0)


@pytest.mark.parametrize("wrong", [grant(0), grant(-5), grant(5, "gift"), grant(5, source_ref="plan:x:opening")])
async def test_a_grant_that_cannot_be_is_refused(store: Store, wrong: object) -> None:
    await store.create_user(NewUser(account=USER, opening=OPENING))
    with pytest.raises(BadRequest):
        await store.grant(wrong)  # type: ignore[arg-type]
    assert await points(store) == (25, 0)


async def test_points_for_nobody_are_refused(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.grant(grant(5))


async def test_a_user_created_twice_is_one_user(store: Store) -> None:
    new = NewUser(account=USER, opening=OPENING)
    assert await store.create_user(new) == await store.create_user(new)
    with pytest.raises(BadRequest):
        await store.create_user(NewUser(account=USER, opening=Opening("free", 26)))
    assert await points(store) == (25, 0)


async def test_a_refused_call_is_one_row_and_never_replaces_another(store: Store) -> None:
    await store.refuse(Refuse(facts=facts("c1"), error="model_not_found", message="no model x"))
    row = await store.call("c1")
    assert row is not None
    assert (row["state"], row["error"], row["error_message"]) == ("refused", "model_not_found", "no model x")
    await store.reserve(reserve("c2"))
    await store.refuse(Refuse(facts=facts("c2"), error="late", message="late"))
    open_row = await store.call("c2")
    assert open_row is not None
    assert open_row["state"] == "open"


async def test_keys_are_kept_listed_by_namespace_and_revoked_for_good(store: Store) -> None:
    key = KeyRow(
        id="k1",
        mac=b"\x01\xff",
        role=Role.USER,
        namespace="main",
        user="alice",
        workspace=None,
        operations=None,
        models=("gpt-4o", "é"),
        actions=(),
        name="laptop",
        created_at=1,
    )
    other = replace(key, id="k2", namespace="shop", created_at=2)
    await store.create_key(key)
    await store.create_key(other)
    with pytest.raises(BadRequest):
        await store.create_key(key)
    assert await store.key("k1") == key
    assert await store.key("k9") is None
    assert await store.keys() == [key, other]
    assert await store.keys("shop") == [other]
    assert await store.revoke_key("k1") is True
    revoked = await store.key("k1")
    assert await store.revoke_key("k1") is True
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert await store.key("k1") == revoked
    assert await store.revoke_key("k9") is False


async def test_a_policy_version_is_kept_once(store: Store) -> None:
    await store.keep_policy_version("v1", {"default.yaml": "- {kind: auth}\n"})
    await store.keep_policy_version("v1", {"default.yaml": "- {kind: auth}\n"})


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.balance("main/nobody") is None
    assert await store.call("nobody") is None


async def test_a_healthy_store_says_so_until_it_is_closed(store: Store) -> None:
    assert await store.healthy() is True


async def test_fifty_calls_fit_a_balance_for_fifty_however_many_ask(store: Store) -> None:
    opening = Opening("free", 50)
    answers = await asyncio.gather(*(store.reserve(reserve(f"c{n}", offer(1), opening=opening)) for n in range(200)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 50
    assert await points(store) == (50, 50)


async def test_all_adapters_write_the_same_row(tmp_path: Path) -> None:
    memory = MemoryStore()
    sqlite = await open_sqlite(fresh_database(tmp_path), durability="relaxed", owner="o")
    for store in (memory, sqlite):
        await store.reserve(reserve("c1", workspace="w", prospect="p", stream=True, action=None))
        await store.reserve(reserve("c2"))
        await store.reserve(reserve("c3", PREMIUM))
        await store.close(answered("c1", 7, usage_estimated=True, cached_input_tokens=3, error="x"))
        await store.close(answered("c2", 0, model=None, attempts=(), finish_reasons=(), how="failed"))
        await store.refuse(Refuse(facts=facts("c4"), error="invalid_request", message="no"))
        await store.withdraw("c1")
    for call_id in ("c1", "c2", "c3", "c4"):
        assert without_times(await memory.call(call_id)) == without_times(await sqlite.call(call_id))
    await sqlite.aclose()
