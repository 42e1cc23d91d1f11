"""``async with`` around a call: whatever happens in it, and whenever it is cut, its points are settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from proxy.call import Account, Call, Chunk, Cut, Deployment, Ending, How, Offer, Opening, Outcome, Part, Receipt, Usage
from proxy.errors import (
    BadRequest,
    EnergyExhausted,
    Forbidden,
    JournalUnavailable,
    OrchError,
    UpstreamBroke,
    UpstreamUnavailable,
)
from proxy.journal.hold import Journal
from proxy.journal.memory import MemoryStore
from proxy.journal.port import Close, Grant, Store
from proxy.testing import Collected, fake_call
from tests.journal.contract import HeldBack

OFFERS = (Offer(model="gpt-4o", points=10), Offer(model="gpt-4o-mini", points=3))
PRICES = {"gpt-4o": 10, "gpt-4o-mini": 3, "o3": 20, "moon": 1000}
OPENING = Opening("free", 25)
CONTENT = Chunk(b"data: {}\n\n", Part.CONTENT)
FULL = {How.ANSWERED, How.OVERDUE, How.STALLED, How.LEFT_AFTER}
DOWN = JournalUnavailable("disk full")


def charge(ended: Ending) -> int:
    return PRICES[ended.model] if ended.model and ended.how in FULL else 0


def outcome(model: str = "gpt-4o") -> Outcome:
    here = Deployment(upstream="openai", provider="openai", model=model)
    return Outcome(model=model, deployment=here, usage=Usage(input_tokens=1, output_tokens=1), cost_nanousd=1)


def journal(store: Store, **waits: Any) -> Journal:
    return Journal(store, **{"close_wait_s": 5.0, **waits})


async def row_of(store: Store, call: Call) -> dict[str, Any]:
    row = await store.call(call.id)
    assert row is not None
    return dict(row)


async def settled(store: Store, call: Call) -> tuple[str | None, int]:
    """How the call ended and what was charged in the end, with nothing held and the books right."""
    assert await store.verify() == []
    balance = await store.balance(call.payer.id)
    assert balance is None or balance.held == 0
    row = await store.call(call.id)
    return (row["how"], row["points_charged"] - row["points_refunded"]) if row else (None, 0)


async def answer(held: Call, model: str = "gpt-4o") -> None:
    held.trace.answering = model
    await held.reply.send(CONTENT)
    held.trace.outcome = outcome(model)


async def run(store: Store, call: Call, body: Callable[[Call], Awaitable[None]], **waits: float) -> None:
    async with journal(store, **waits).reserving(call, OFFERS, opening=OPENING, charge=charge) as held:
        await body(held)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """The work as a task that may be cancelled, and has ended when this is left. What it raised is for the test to ask."""

    async def quietly() -> None:
        with suppress(OrchError):
            await work

    async with asyncio.TaskGroup() as group:
        yield group.create_task(quietly())


async def test_an_answered_call_is_charged_and_gets_its_receipt() -> None:
    store, call = MemoryStore(), fake_call()
    await run(store, call, answer)
    assert call.trace.recorded
    assert call.trace.receipt == Receipt(charged=10, remaining=15)
    assert await settled(store, call) == ("answered", 10)


async def test_the_held_call_is_on_the_offers_model_and_holds_its_points() -> None:
    store, call = MemoryStore(), fake_call()
    async with journal(store).reserving(call, OFFERS, opening=OPENING, charge=charge) as held:
        assert (held.model, held.candidates, held.downgraded_from) == ("gpt-4o", ("gpt-4o",), None)
        assert held.hold is not None
        assert held.hold.points == 10
        assert held.trace is call.trace
        assert (await row_of(store, call))["state"] == "open"


async def test_a_downgraded_call_says_from_what() -> None:
    call = fake_call()
    poor = Opening("free", 5)
    async with journal(MemoryStore()).reserving(call, OFFERS, opening=poor, charge=charge) as held:
        assert (held.model, held.candidates, held.downgraded_from) == ("gpt-4o-mini", ("gpt-4o-mini",), "gpt-4o")
        await answer(held, "gpt-4o-mini")
    assert call.trace.receipt == Receipt(charged=3, remaining=2)


async def test_no_offer_paid_raises_and_is_on_record() -> None:
    store, call = MemoryStore(), fake_call()
    with pytest.raises(EnergyExhausted, match="Required: 3, Available: 2"):
        async with journal(store).reserving(call, OFFERS, opening=Opening("free", 2), charge=charge):
            pytest.fail("nothing may run")
    assert call.trace.recorded
    assert (await row_of(store, call))["state"] == "refused"
    assert await settled(store, call) == (None, 0)


async def test_the_model_that_answered_is_what_is_paid() -> None:
    store, call = MemoryStore(), fake_call()
    await run(store, call, lambda held: answer(held, "gpt-4o-mini"))
    assert await settled(store, call) == ("answered", 3)
    assert (await row_of(store, call))["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("error", "content", "expected"),
    [
        (UpstreamUnavailable("503"), False, ("failed", 0)),
        (UpstreamBroke("cut"), True, ("broken", 0)),
        (ZeroDivisionError(), False, ("failed", 0)),
    ],
)
async def test_an_error_goes_on_and_its_row_of_the_table_is_charged(
    error: Exception, content: bool, expected: tuple[str, int]
) -> None:
    store, call = MemoryStore(), fake_call()

    async def fail(held: Call) -> None:
        if content:
            held.trace.answering = held.model
            await held.reply.send(CONTENT)
        raise error

    with pytest.raises(type(error)):
        await run(store, call, fail)
    assert await settled(store, call) == expected


@pytest.mark.parametrize(
    ("cut", "content", "expected"),
    [
        (Cut.GONE, False, ("left_before_content", 0)),
        (Cut.GONE, True, ("left_after_content", 10)),
        (Cut.DEADLINE, False, ("failed", 0)),
        (Cut.DEADLINE, True, ("overdue", 10)),
        (Cut.STALLED, True, ("stalled", 10)),
        (None, False, ("shutdown", 0)),
        (None, True, ("shutdown", 0)),
    ],
)
async def test_a_cancelled_call_is_charged_by_who_cut_it_and_when(
    cut: Cut | None, content: bool, expected: tuple[str, int]
) -> None:
    store, reply = MemoryStore(), Collected()
    call = fake_call(reply=reply)
    entered = asyncio.Event()

    async def hang(held: Call) -> None:
        if content:
            held.trace.answering = held.model
            await held.reply.send(CONTENT)
        entered.set()
        await asyncio.Event().wait()

    async with running(run(store, call, hang)) as task:
        await entered.wait()
        reply.cut = cut
        task.cancel()
    assert task.cancelled()
    assert await settled(store, call) == expected
    assert call.trace.receipt is not None


@pytest.mark.parametrize("cut", [None, Cut.GONE, Cut.DEADLINE])
@pytest.mark.parametrize("acks", ["prompt", "late"])
@pytest.mark.parametrize("tick", range(1, 14))
async def test_cancelled_at_any_await_leaves_nothing_held(tick: int, acks: str, cut: Cut | None) -> None:
    store, reply = HeldBack(), Collected()
    call = fake_call(reply=reply)

    async def body(held: Call) -> None:
        assert held.hold is not None
        await held.hold.raise_for("o3")
        await asyncio.sleep(0)
        await answer(held)

    async with running(run(store, call, body)) as task:
        for now in range(40):
            if now == tick:
                reply.cut = cut
                task.cancel()
            if store.waiting and (acks == "prompt" or now > tick):
                store.answer()
            await asyncio.sleep(0)
    while store.waiting:
        store.answer()
        await asyncio.sleep(0)
    how, charged = await settled(store, call)
    answered = call.trace.outcome is not None
    left_after = reply.started and cut is not None
    assert charged == (10 if answered or left_after else 0)
    assert how is None or (how == "answered") == answered


async def test_cancelled_while_the_reserve_waits_the_void_stands_right_behind_it() -> None:
    store = HeldBack()
    call = fake_call(reply=Collected())
    async with running(run(store, call, answer)) as task:
        await until(lambda: store.waiting)
        task.cancel()
    assert task.cancelled()
    assert store.asked == ["reserve", "close shutdown 0"]
    assert not call.trace.recorded


async def test_cancelled_while_the_close_waits_the_charge_stands() -> None:
    store, call = HeldBack(), fake_call()
    async with running(run(store, call, answer)) as task:
        await until(lambda: store.waiting)
        store.answer()
        await until(lambda: store.waiting)
        task.cancel()
    assert task.cancelled()
    store.answer()
    assert await settled(store, call) == ("answered", 10)


async def test_a_close_that_fails_when_nobody_waits_any_more_is_withdrawn() -> None:
    store, call = HeldBack(), fake_call()
    async with running(run(store, call, answer)) as task:
        await until(lambda: store.waiting)
        store.answer()
        await until(lambda: store.waiting)
        task.cancel()
    store.fail(DOWN)
    await until(lambda: "withdraw" in store.asked)
    assert await settled(store, call) == ("not_recorded", 0)


async def test_a_reserve_that_fails_raises_and_is_withdrawn() -> None:
    store, call = HeldBack(), fake_call()
    async with running(run(store, call, answer)):
        await until(lambda: store.waiting)
        store.fail(DOWN)
    assert store.asked == ["reserve", "withdraw"]
    assert not call.trace.recorded
    assert await settled(store, call) == ("not_recorded", 0)


async def test_a_reserve_without_an_answer_is_given_up_and_withdrawn() -> None:
    store, call = HeldBack(), fake_call()
    with pytest.raises(JournalUnavailable, match="did not answer"):
        await run(store, call, answer, reserve_wait_s=0.001)
    assert store.asked == ["reserve", "withdraw"]


async def test_a_close_without_an_answer_withholds_the_tail_and_is_taken_back() -> None:
    store, call = HeldBack(), fake_call()

    async def unheard() -> None:
        with pytest.raises(JournalUnavailable, match="did not answer"):
            await run(store, call, answer, close_wait_s=0.001)

    async with asyncio.TaskGroup() as group:
        group.create_task(unheard())
        await until(lambda: store.waiting)
        store.answer()
    assert store.asked == ["reserve", "close answered 10", "withdraw"]
    assert call.trace.receipt is None
    assert await settled(store, call) == ("not_recorded", 0)


async def test_a_call_that_somebody_else_closed_gives_its_answer_no_tail() -> None:
    store, call = MemoryStore(), fake_call()

    async def lose(held: Call) -> None:
        await store.close(Close(call_id=held.id, how="unknown", points_charged=10))
        await answer(held)

    with pytest.raises(JournalUnavailable, match="closed by another"):
        await run(store, call, lose)
    assert call.trace.receipt is None
    assert await settled(store, call) == ("not_recorded", 0)


async def test_a_charge_beyond_the_hold_is_our_bug_and_costs_the_payer_nothing() -> None:
    store, call = MemoryStore(), fake_call()
    with pytest.raises(AssertionError, match="10 are held"):
        await run(store, call, lambda held: answer(held, "o3"))
    assert await settled(store, call) == ("not_recorded", 0)


async def test_a_hold_is_raised_for_a_dearer_model_before_it_answers() -> None:
    store, call = MemoryStore(), fake_call()

    async def dearer(held: Call) -> None:
        assert held.hold is not None
        assert await held.hold.raise_for("gpt-4o-mini")
        assert await held.hold.raise_for("moon") is False
        assert held.hold.points == 10
        assert await held.hold.raise_for("o3")
        assert held.hold.points == 20
        await answer(held, "o3")

    await run(store, call, dearer)
    assert await settled(store, call) == ("answered", 20)


async def test_what_a_lost_process_would_cost_is_in_the_row() -> None:
    store, call = MemoryStore(), fake_call()

    def on_unknown(ended: Ending) -> int:
        return PRICES[ended.model or ""] if ended.how is How.UNKNOWN else charge(ended)

    async with journal(store).reserving(call, OFFERS, opening=OPENING, charge=on_unknown):
        assert (await row_of(store, call))["points_if_unknown"] == 10


async def test_a_refused_call_is_recorded_once() -> None:
    store, call = MemoryStore(), fake_call()
    await journal(store).refused(call, Forbidden("no"))
    await journal(store).refused(call, BadRequest("other"))
    assert call.trace.recorded
    row = await row_of(store, call)
    assert (row["state"], row["error"], row["error_message"]) == ("refused", "permission_denied", "no")


async def test_a_refusal_for_want_of_a_store_does_not_wait_for_the_store() -> None:
    store, call = HeldBack(), fake_call()
    await journal(store).refused(call, DOWN)
    assert store.asked == []
    assert not call.trace.recorded


async def test_a_refusal_that_cannot_be_written_in_time_says_so() -> None:
    store, call = HeldBack(), fake_call()
    with pytest.raises(JournalUnavailable):
        await journal(store, reserve_wait_s=0.001).refused(call, Forbidden("no"))
    assert not call.trace.recorded


async def test_a_refused_caller_may_have_sent_what_is_not_unicode() -> None:
    store = MemoryStore()
    call = fake_call("gpt-\ud800", payer=Account("main", "a\udfff"), workspace="\ud800")
    await journal(store).refused(call, BadRequest("not \ud800" + "x" * 5000))
    row = await row_of(store, call)
    assert row["requested_model"] == "gpt-\\ud800"
    assert len(row["error_message"].encode()) < 1100


async def test_fifty_points_are_never_spent_twice_however_calls_end() -> None:
    store = MemoryStore()
    calls = [fake_call(id=f"c{n}") for n in range(200)]
    one = (Offer(model="gpt-4o", points=10),)

    async def spend(call: Call) -> None:
        with suppress(EnergyExhausted, UpstreamUnavailable):
            async with journal(store).reserving(call, one, opening=Opening("free", 500), charge=charge) as held:
                await asyncio.sleep(0)
                if int(call.id[1:]) % 3 == 0:
                    raise UpstreamUnavailable("503")
                await answer(held)

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(spend(call))
    balance = await store.balance(calls[0].payer.id)
    assert balance is not None
    charged = [call.trace.receipt.charged for call in calls if call.trace.receipt]
    assert (balance.balance, balance.held) == (500 - sum(charged), 0)
    await store.grant(Grant(account=calls[0].payer.id, points=1, kind="pack"))
    assert await store.verify() == []
