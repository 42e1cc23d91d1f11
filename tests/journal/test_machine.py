"""Random operations on SQLite against a small independent model, with the books verified after every one."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from proxy.call import Opening
from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.port import Closed, Exhausted, PricedOffer, Reserved
from proxy.journal.sqlite import SqliteStore, open_sqlite
from tests.journal.contract import answered, fresh_database, grant, reserve

R = TypeVar("R")

ACCOUNTS = st.sampled_from(["main/a", "main/b"])
POINTS = st.integers(0, 12)
KINDS = st.sampled_from(["plan", "promo", "adjust", "pack"])
PICK = st.integers(0, 1000)


@dataclass(slots=True)
class Ran:
    """A call as the model knows it. ``given``: points it has cost in the end."""

    account: str
    held: int
    if_unknown: int
    open: bool = True
    given: int = 0


class Ledger(RuleBasedStateMachine):
    """The model: points an account has, and its calls. Nothing of grants, entries or commits."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = fresh_database(Path(self.folder.name))
        self.points: dict[str, int] = {}
        self.calls: dict[str, Ran] = {}
        self.store: SqliteStore
        self.ids = (f"c{n}" for n in itertools.count())
        self.names = (f"erased-{n}" for n in itertools.count())

    @initialize()
    def start(self) -> None:
        self.store = self.runner.run(open_sqlite(self.path, durability="relaxed", owner=f"o{len(self.calls)}"))

    @rule(
        account=ACCOUNTS, prices=st.lists(st.tuples(POINTS, POINTS), min_size=1, max_size=3), opening=st.integers(0, 30)
    )
    def reserve(self, account: str, prices: list[tuple[int, int]], opening: int) -> None:
        call_id = next(self.ids)
        offers = [PricedOffer(model=f"m{n}", points=p, points_if_unknown=min(p, u)) for n, (p, u) in enumerate(prices)]
        self.points.setdefault(account, opening)
        available = self.available(account)
        fits = next((n for n, offer in enumerate(offers) if offer.points <= available), None)
        op = reserve(call_id, *offers, account=account, opening=Opening("free", opening))
        answer = self.run(self.store.reserve(op))
        if fits is None:
            assert answer == Exhausted(required=min(offer.points for offer in offers), available=available)
        else:
            taken = offers[fits]
            assert answer == Reserved(offer=fits, remaining=available - taken.points)
            self.calls[call_id] = Ran(account, taken.points, taken.points_if_unknown)
        assert self.run(self.store.reserve(op)) == answer
        self.check()

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, points=st.integers(0, 30), if_unknown=POINTS)
    def raise_hold(self, pick: int, points: int, if_unknown: int) -> None:
        call_id, ran = self.picked(pick)
        raising = self.store.raise_hold(call_id, points=points, points_if_unknown=min(points, if_unknown))
        if not ran.open:
            assert isinstance(self.error(raising), JournalUnavailable)
            return
        fits = points - ran.held <= self.available(ran.account)
        assert self.run(raising) is fits
        if fits and points > ran.held:
            ran.held, ran.if_unknown = points, min(points, if_unknown)
        self.check()

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, points=POINTS)
    def close(self, pick: int, points: int) -> None:
        call_id, ran = self.picked(pick)
        already = not ran.open
        charged = ran.given if already else min(points, ran.held)
        closing = self.store.close(answered(call_id, min(points, ran.held)))
        ran.open, ran.given = False, charged
        closed = Closed(charged=charged, remaining=self.available(ran.account), already=already)
        assert self.run(closing) == closed
        self.check()

    @precondition(lambda self: any(ran.open for ran in self.calls.values()))
    @rule(pick=PICK, beyond=st.integers(1, 5))
    def overcharge(self, pick: int, beyond: int) -> None:
        running = [call_id for call_id, ran in self.calls.items() if ran.open]
        call_id = running[pick % len(running)]
        closing = self.store.close(answered(call_id, self.calls[call_id].held + beyond))
        assert isinstance(self.error(closing), AssertionError)
        self.check()

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        call_id, ran = self.picked(pick)
        ran.open, ran.given = False, 0
        self.run(self.store.withdraw(call_id))
        self.check()

    @precondition(lambda self: self.points)
    @rule(pick=PICK, points=st.integers(1, 20), kind=KINDS)
    def give(self, pick: int, points: int, kind: str) -> None:
        account = sorted(self.points)[pick % len(self.points)]
        self.points[account] += points
        self.run(self.store.grant(grant(points, kind, account)))
        self.check()

    @rule()
    def prune(self) -> None:
        """Every call that has ended goes; what it cost stays."""
        self.run(self.store.prune(1 << 60, rows_max=1000))
        for call_id, ran in tuple(self.calls.items()):
            if not ran.open:
                self.points[ran.account] -= ran.given
                del self.calls[call_id]
        self.check()

    @rule(account=ACCOUNTS, batch=st.integers(1, 3))
    def erase(self, account: str, batch: int) -> None:
        erasing = self.store.erase_user(account, next(self.names))
        mine = [ran for ran in self.calls.values() if ran.account == account]
        if any(ran.open for ran in mine):
            assert isinstance(self.error(erasing), BadRequest)
            return
        erased = self.run(erasing)
        while self.run(self.store.erase_calls(batch)).more:
            self.check_books()
        if account in self.points:
            for ran in mine:
                ran.account = f"main/{erased.pseudonym}"
            self.points[f"main/{erased.pseudonym}"] = self.points.pop(account)
        self.check()

    @rule()
    def die_and_open_again(self) -> None:
        gone = self.store
        for ran in self.calls.values():
            if ran.open:
                ran.open, ran.given = False, ran.if_unknown
        self.start()
        self.runner.run(gone.aclose())
        self.check()

    def teardown(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()
        self.folder.cleanup()

    def check_books(self) -> None:
        assert self.runner.run(self.store.verify()) == []

    def check(self) -> None:
        self.check_books()
        for account in self.points:
            found = self.runner.run(self.store.balance(account))
            assert found is not None
            held = sum(ran.held for ran in self.calls.values() if ran.account == account and ran.open)
            assert (found.available, found.held) == (self.available(account), held)

    def available(self, account: str) -> int:
        mine = [ran for ran in self.calls.values() if ran.account == account]
        return self.points[account] - sum(ran.held if ran.open else ran.given for ran in mine)

    def picked(self, pick: int) -> tuple[str, Ran]:
        call_id = sorted(self.calls)[pick % len(self.calls)]
        return call_id, self.calls[call_id]

    def run(self, answer: asyncio.Future[R]) -> R:
        return self.runner.run(_answer(answer))

    def error(self, answer: asyncio.Future[R]) -> BaseException:
        error = self.runner.run(_error(answer))
        assert error is not None
        return error


async def _answer(future: asyncio.Future[R]) -> R:
    return await future


async def _error(future: asyncio.Future[R]) -> BaseException | None:
    await asyncio.wait((future,))
    return future.exception()


Ledger.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
TestLedger = Ledger.TestCase
