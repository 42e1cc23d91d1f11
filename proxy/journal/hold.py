"""The journal as the chain sees it: ``async with`` around a call holds its points and charges what its end says.

Reserve and close stand in the store's queue before anything is awaited; a task that is cancelled while it waits has
still said what it wanted. So nothing here needs shielding, and no way out leaves points held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

from proxy.call import Call, Charge, Ending, How, Offer, Opening, Receipt
from proxy.errors import EnergyExhausted, JournalUnavailable, OrchError
from proxy.journal.ending import before_content, closing, ending
from proxy.journal.flood import Place, RefusalMeter
from proxy.journal.kept import bodies
from proxy.journal.port import CallFacts, Close, Closed, Exhausted, Noted, PricedOffer, Refuse, Reserve, Reserved, Store
from proxy.journal.retention import Retention

RESERVE_WAIT_S = 5.0
"""How long a call waits for its points to be held, in seconds."""

MESSAGE_CHARS_MAX = 1000

log = logging.getLogger(__name__)

R = TypeVar("R")


class Journal:
    """Ledger and records over a store. ``close_wait_s``: how long a finished answer waits for its close to be committed."""

    def __init__(
        self,
        store: Store,
        *,
        close_wait_s: float,
        reserve_wait_s: float = RESERVE_WAIT_S,
        retention: Retention | None = None,
    ) -> None:
        self.retention = retention or Retention()
        self.refusals = RefusalMeter(store, self.retention)
        self._store = store
        self._close_wait_s = close_wait_s
        self._reserve_wait_s = reserve_wait_s

    def reserving(
        self, call: Call, offers: Sequence[Offer], *, opening: Opening, charge: Charge
    ) -> AbstractAsyncContextManager[Call]:
        """As in ``call.Journal``. On exit JournalUnavailable means: not committed in time, and taken back.

        A cancellation stays a cancellation; ``trace.receipt`` tells whether the close was committed.
        """
        place = self.refusals.place(call.principal.key_id)
        priced = tuple(_priced(offer, charge) for offer in offers)
        op = Reserve(facts=_facts(call), offers=priced, opening=opening, if_refused=place.noted)
        hold = CallHold(self._store, call.id, charge, wait_s=self._reserve_wait_s)
        ledger = _Ledger(self._store, call.id, self.retention, self.refusals, place)
        return _Reserving(ledger, call, op, hold=hold, close_wait_s=self._close_wait_s)

    async def refused(self, call: Call, error: OrchError) -> None:
        """Record a call that was refused before any reserve. Raises JournalUnavailable."""
        if call.trace.recorded or isinstance(error, JournalUnavailable):
            return  # it has its row; or there is no store to write one to
        place = self.refusals.place(call.principal.key_id)
        if place.noted is Noted.COUNT:
            self.refusals.count(place.source, error.reason)
            call.trace.recorded = True
            return
        message = error.message[:MESSAGE_CHARS_MAX]
        op = Refuse(facts=_readable(_facts(call)), error=error.reason, message=_unicode(message))
        ledger = _Ledger(self._store, call.id, self.retention, self.refusals, place)
        await _acknowledged(ledger.refuse(op), self._reserve_wait_s)
        call.trace.recorded = True
        ledger.keep_bodies(call)


class CallHold:
    """Points held for one call; see ``call.Hold``."""

    __slots__ = ("_call_id", "_charge", "_store", "points", "wait_s")

    def __init__(self, store: Store, call_id: str, charge: Charge, *, wait_s: float) -> None:
        self.points = 0
        self.wait_s = wait_s
        self._store = store
        self._call_id = call_id
        self._charge = charge

    async def raise_for(self, model: str) -> bool:
        price = self._charge(Ending(How.ANSWERED, model))
        if price <= self.points:
            return True
        if_unknown = self._charge(Ending(How.UNKNOWN, model))
        raised = self._store.raise_hold(self._call_id, points=price, points_if_unknown=if_unknown)
        if not await _acknowledged(raised, self.wait_s):
            return False
        self.points = price
        return True

    def charge(self, ended: Ending) -> int:
        """What the call costs. A charge beyond the hold is our bug, never the payer's points."""
        points = self._charge(ended)
        assert 0 <= points <= self.points, f"call {self._call_id}: {ended} costs {points}, {self.points} are held"
        return points


@dataclass(frozen=True, slots=True)
class _Ledger:
    """One call in the store: whatever becomes of a close, no points stay held; whatever refuses it, it is noted once."""

    store: Store
    call_id: str
    retention: Retention
    refusals: RefusalMeter
    place: Place

    def reserve(self, op: Reserve) -> Future[Reserved | Exhausted]:
        reserved = self.store.reserve(op)
        reserved.add_done_callback(self._note_refusal)  # also when nobody waits any more
        return reserved

    def _note_refusal(self, reserved: Future[Reserved | Exhausted]) -> None:
        if reserved.cancelled() or reserved.exception() is not None or isinstance(reserved.result(), Reserved):
            self.place.free()
        elif self.place.noted is Noted.COUNT:
            self.refusals.count(self.place.source, EnergyExhausted.reason)

    def refuse(self, op: Refuse) -> Future[None]:
        refused = self.store.refuse(op)
        refused.add_done_callback(lambda done: self._count_if_lost(done, op.error))
        return refused

    def _count_if_lost(self, refused: Future[None], reason: str) -> None:
        if not refused.cancelled() and refused.exception() is not None:
            self.refusals.count(self.place.source, reason)

    def keep_bodies(self, call: Call) -> None:
        """Behind the call's row in the queue, and nobody waits for it."""
        try:
            op = bodies(call, self.retention.rules)
        except Exception:
            log.exception("call %s: its bodies are not kept", call.id)
            return
        if op is not None:
            self.store.keep_bodies(op).add_done_callback(_heard)

    def close(self, op: Close) -> Future[Closed]:
        closed = self.store.close(op)
        closed.add_done_callback(self._withdraw_if_lost)
        return closed

    def withdraw(self) -> None:
        self.store.withdraw(self.call_id).add_done_callback(_heard)

    def _withdraw_if_lost(self, closed: Future[Closed]) -> None:
        """Whatever failed it, and also when nobody waits any more: no points stay held by a close that cannot be written."""
        if not closed.cancelled() and closed.exception() is not None:
            self.withdraw()


class _Reserving(AbstractAsyncContextManager[Call]):
    """One call between its reserve and its close."""

    __slots__ = ("_call", "_close_wait_s", "_hold", "_ledger", "_op")

    def __init__(self, ledger: _Ledger, call: Call, op: Reserve, *, hold: CallHold, close_wait_s: float) -> None:
        self._ledger = ledger
        self._call = call
        self._op = op
        self._hold = hold
        self._close_wait_s = close_wait_s

    async def __aenter__(self) -> Call:
        answer = await self._reserved()
        trace = self._call.trace
        trace.recorded, trace.booked = True, self._call
        if isinstance(answer, Exhausted):
            if self._op.if_refused is Noted.ROW:
                self._ledger.keep_bodies(self._call)
            raise EnergyExhausted(required=answer.required, available=answer.available)
        taken = self._op.offers[answer.offer]
        self._hold.points = taken.points
        held = replace(self._call, model=taken.model, candidates=(taken.model,), hold=self._hold)
        if answer.offer:
            held = replace(held, downgraded_from=self._op.offers[0].model)
        self._call = trace.booked = held
        return held

    async def _reserved(self) -> Reserved | Exhausted:
        reserved = self._ledger.reserve(self._op)
        try:
            return await _acknowledged(reserved, self._hold.wait_s)
        except asyncio.CancelledError as error:
            ended = Ending(before_content(self._call.reply.cut), None)
            self._call.trace.booked = self._call
            self._ledger.close(_closing(self._call, ended, error, points=0))
            raise
        except JournalUnavailable:
            self._ledger.withdraw()  # it may have been committed, or be committed yet
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed = self._ledger.close(self._closing(error))
        self._ledger.keep_bodies(self._call)
        try:
            await self._settled(closed)
        except JournalUnavailable:
            if not isinstance(error, asyncio.CancelledError):  # nobody may turn a cancellation into an error
                raise

    def _closing(self, error: BaseException | None) -> Close:
        try:
            ended = ending(self._call, error)
            return _closing(self._call, ended, error, points=self._hold.charge(ended))
        except Exception:
            self._take_back()  # our bug is not the payer's loss
            raise

    async def _settled(self, closing: Future[Closed]) -> None:
        try:
            closed = await _acknowledged(closing, self._close_wait_s)
        except JournalUnavailable:
            self._take_back()  # behind the close: whichever of them is committed last, the charge is taken back
            raise
        if closed.already:
            self._take_back()
            raise JournalUnavailable(f"call {self._call.id} was closed by another process")
        self._call.trace.receipt = Receipt(charged=closed.charged, remaining=closed.remaining)

    def _take_back(self) -> None:
        self._ledger.withdraw()
        trace = self._call.trace
        trace.ending, trace.error = Ending(How.NOT_RECORDED, None), How.NOT_RECORDED.value


def _closing(call: Call, ended: Ending, error: BaseException | None, *, points: int) -> Close:
    """The close that records this ending, which the trace tells from now on."""
    op = closing(call, ended, error, points=points, now_s=time.monotonic())
    call.trace.ending, call.trace.error = ended, op.error
    return op


async def _acknowledged(future: Future[R], wait_s: float) -> R:
    """The store's answer. Raises JournalUnavailable when none came in time; never cancels the operation."""
    future.add_done_callback(_heard)
    await asyncio.wait((future,), timeout=wait_s)
    if not future.done():
        raise JournalUnavailable(f"the ledger did not answer within {wait_s:g} s")
    return future.result()


def _heard(future: Future[Any]) -> None:
    """Nobody may wait for this answer any more; its error is no news then."""
    if not future.cancelled():
        future.exception()


def _priced(offer: Offer, charge: Charge) -> PricedOffer:
    if_unknown = charge(Ending(How.UNKNOWN, offer.model))
    assert 0 <= if_unknown <= offer.points, f"{offer} costs {if_unknown} when its end is unknown"
    return PricedOffer(model=offer.model, points=offer.points, points_if_unknown=if_unknown)


def _facts(call: Call) -> CallFacts:
    return CallFacts(
        id=call.id,
        account=call.payer.id,
        key_id=call.principal.key_id,
        operation=call.operation.value,
        action=call.action,
        requested_model=call.requested_model,
        stream=call.stream,
        workspace=call.workspace,
        prospect=call.prospect,
        policy_version=call.ports.policy_version,
        price_version=call.ports.price_version,
    )


def _readable(facts: CallFacts) -> CallFacts:
    """The same facts in Unicode: a refused caller may have sent anything."""
    return replace(
        facts,
        account=_unicode(facts.account),
        action=_unicode(facts.action),
        requested_model=_unicode(facts.requested_model),
        workspace=_unicode(facts.workspace),
        prospect=_unicode(facts.prospect),
    )


S = TypeVar("S", str, "str | None")


def _unicode(text: S) -> S:
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()
