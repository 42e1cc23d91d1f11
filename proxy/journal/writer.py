"""The writer: one thread that owns the only writing connection, and commits in groups.

A batch is what queued up while the last one was being committed, so there is no timer: alone, a job commits at once;
under load many share one sync. A job that raises is undone and fails alone. A store that fails fails the whole batch,
with nothing done, and the thread goes on: the next batch finds out whether the store is back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal import statements as sql

BATCH_MAX = 256
QUEUE_MAX = 10_000
OWED_RETRY_S = 1.0

R = TypeVar("R")
Work = Callable[[sqlite3.Cursor, int], R]
"""What a job does in the transaction: given a cursor and the batch's time in Unix ms, it returns its result or raises."""

_NEVER = float("-inf")

_log = logging.getLogger(__name__)

_PRIMARY_CODE = 0xFF  # SQLite's extended result codes carry the primary one in their low byte
_KEPT_AFTER = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL})
"""Failures that say nothing against the connection. Any other one is answered with a new connection."""


class Job(Generic[R]):
    """Work in the queue, and where its result goes."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Work[R], future: asyncio.Future[R]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        if self.future.done():  # nobody waits any more
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Debt(Job[R]):
    """Work that must happen: a store's failure only puts it off."""

    __slots__ = ()


class Aside(Job[R]):
    """Work that cannot be done in a transaction: it is a batch by itself. What it raises counts as the store's failure."""

    __slots__ = ()


_Batch = list[Job[Any]]


class Meter(Protocol):
    """Hears of every batch, on the writer's thread. Must not raise."""

    def committed(self, operations: int, seconds: float) -> None: ...

    def failed(self) -> None: ...


class Unmetered:
    """Implements ``Meter`` for those who do not count."""

    def committed(self, operations: int, seconds: float) -> None: ...

    def failed(self) -> None: ...


class Writer:
    """Takes work from the event loop and does it in order, on its own thread.

    ``connect`` opens the connection (isolation_level None) and raises sqlite3.Error when it cannot; ``now_ms`` dates a
    batch. Both are called on the thread.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        now_ms: Callable[[], int],
        *,
        queue_max: int = QUEUE_MAX,
        batch_max: int = BATCH_MAX,
        owed_retry_s: float = OWED_RETRY_S,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Unmetered()
        self._connect = connect
        self._now_ms = now_ms
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._owed_retry_s = owed_retry_s
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._owed: _Batch = []
        self._aside: Aside[Any] | None = None
        self._db: sqlite3.Cursor | None = None
        self._closed = False
        self.committed_at = _NEVER  # monotonic seconds of the last commit
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Operations that wait for the next batch."""
        return self._queue.qsize()

    def submit(self, work: Work[R]) -> asyncio.Future[R]:
        """Queue work that begins something. Refused with JournalUnavailable while ``queue_max`` jobs wait."""
        if self._queue.qsize() >= self._queue_max:
            return self._refused(f"{self._queue_max} operations wait for the ledger already (queue_max)")
        return self._put(Job(work, self._loop.create_future()))

    def finish(self, work: Work[R]) -> asyncio.Future[R]:
        """Queue work that ends something that was begun: it needs no bound of its own, and must not be shut out."""
        return self._put(Job(work, self._loop.create_future()))

    def owe(self, work: Work[R]) -> asyncio.Future[R]:
        """Queue work that must happen: while the store fails it is tried again until the writer is closed."""
        return self._put(Debt(work, self._loop.create_future()))

    def aside(self, work: Work[R]) -> asyncio.Future[R]:
        """Queue work on the connection between two transactions: all others wait for it, so it has to be short."""
        return self._put(Aside(work, self._loop.create_future()))

    def _put(self, job: Job[R]) -> asyncio.Future[R]:
        if self._closed:
            return self._refused("the ledger is closed")
        self._queue.put(job)
        return job.future

    def _refused(self, why: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        future.set_exception(JournalUnavailable(why))
        return future

    async def aclose(self) -> None:
        """Commit what is queued, then end the thread and close the connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._next_batch()
            if batch:
                self._deliver(self._commit(batch))
            if self._owed and (not batch or self.committed_at > _NEVER):
                self._pay()
        self._give_up_owed()
        self._drop_connection()

    def _next_batch(self) -> tuple[_Batch, bool]:
        """What is queued, waiting for the first of it; False: the writer is to end after it."""
        if self._aside is not None:
            alone, self._aside = self._aside, None
            return [alone], True
        batch: _Batch = []
        try:
            job = self._queue.get(timeout=self._owed_retry_s if self._owed else None)
            while job is not None:
                if isinstance(job, Aside):
                    self._aside = job
                    return batch, True
                batch.append(job)
                if len(batch) == self._batch_max:
                    return batch, True
                job = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: _Batch) -> _Batch:
        """Run the batch in one transaction. Every job returned has its result or its error; a debt may be put off."""
        began = time.monotonic()
        try:
            self._transact(batch)
        except Exception as error:
            return self._failed(batch, error)
        self.committed_at = time.monotonic()
        self._meter.committed(len(batch), self.committed_at - began)
        return batch

    def _transact(self, batch: _Batch) -> None:
        if self._db is None:
            self._db = self._connect().cursor()
        db, at = self._db, self._now_ms()
        if isinstance(batch[0], Aside):
            batch[0].result = batch[0].work(db, at)
            return
        db.execute(sql.BEGIN)
        try:
            for job in batch:
                job.result = job.work(db, at)
        except Exception as error:
            if _is_the_stores(error):
                raise
            db.execute(sql.ROLLBACK)
            self._one_by_one(batch, db, at)
        db.execute(sql.COMMIT)

    def _one_by_one(self, batch: _Batch, db: sqlite3.Cursor, at: int) -> None:
        """The same batch again, each job undone by itself when it raises. Ends inside the transaction."""
        db.execute(sql.BEGIN)
        for job in batch:
            job.error = None  # of a debt that failed before, and whose batch was not committed
            db.execute(sql.SAVE)
            try:
                job.result = job.work(db, at)
            except Exception as error:
                if _is_the_stores(error):
                    raise
                job.error = _translated(error)
                db.execute(sql.UNDO)
            db.execute(sql.KEEP)

    def _failed(self, batch: _Batch, error: Exception) -> _Batch:
        """Nothing of the batch happened: fail it, but for what is owed."""
        _log.error("the ledger does not take writes: %s", error)
        self.committed_at = _NEVER
        self._meter.failed()
        self._roll_back(error)
        self._owed += [job for job in batch if isinstance(job, Debt)]
        failed = [job for job in batch if not isinstance(job, Debt)]
        for job in failed:
            job.error = JournalUnavailable(f"the ledger does not take writes: {error}")
        return failed

    def _roll_back(self, error: Exception) -> None:
        if self._db is None:
            return
        try:
            if self._db.connection.in_transaction:
                self._db.execute(sql.ROLLBACK)
        except sqlite3.Error:
            self._drop_connection()
        if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE not in _KEPT_AFTER:
            self._drop_connection()

    def _drop_connection(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.connection.close()
        self._db = None

    def _pay(self) -> None:
        """Try what is owed, each in a batch of its own kind: it must not drag others down."""
        owed, self._owed = self._owed[: self._batch_max], self._owed[self._batch_max :]
        self._deliver(self._commit(owed))

    def _give_up_owed(self) -> None:
        for job in self._owed:
            job.error = JournalUnavailable("the ledger was closed before it took writes again")
        self._deliver(self._owed)

    def _deliver(self, batch: _Batch) -> None:
        """Hand a batch's results to the loop in one call."""
        if not batch:
            return
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(_deliver_all, batch)


def _deliver_all(batch: _Batch) -> None:
    for job in batch:
        job.deliver()


def _is_the_stores(error: Exception) -> bool:
    """Locked, full, read-only, I/O, corrupt; not a constraint, not a value that cannot be bound."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) or type(error) is sqlite3.DatabaseError


def _translated(error: Exception) -> Exception:
    """What a caller hears of a job that failed by itself."""
    if isinstance(error, UnicodeEncodeError):
        return BadRequest("text that is not Unicode cannot be recorded (a lone surrogate)")
    if isinstance(error, OverflowError):
        return BadRequest("a number beyond 64 bits cannot be recorded")
    if isinstance(error, sqlite3.IntegrityError):
        return AssertionError(f"the ledger would break a rule of its own: {error}")
    return error
