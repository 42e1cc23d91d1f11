"""One thread, one transaction a batch: what shares a commit, what fails alone, what a failing store costs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.writer import Work, Writer

ADD = "INSERT INTO marks (name) VALUES (?)"


class Database:
    """A real SQLite file with one table; what a test wants of its writing connection is set here.

    ``commits`` counts the COMMITs that were run; ``prepare`` is done to every new connection.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits = 0
        self.connections: list[sqlite3.Connection] = []
        self.prepare: Callable[[sqlite3.Connection], object] = lambda connection: None
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE marks (name TEXT PRIMARY KEY, filler BLOB)")
        connection.close()

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0.01, check_same_thread=False)
        connection.set_trace_callback(self._count)
        self.prepare(connection)
        self.connections.append(connection)
        return connection

    def _count(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    def names(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        found = [name for (name,) in connection.execute("SELECT name FROM marks ORDER BY rowid")]
        connection.close()
        return found


@pytest.fixture
async def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "marks.db")


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    made = Writer(database.connect, lambda: 7, queue_max=600, owed_retry_s=0.01)
    yield made
    await made.aclose()


def mark(name: str, filler_bytes: int = 0) -> Work[str]:
    def work(db: sqlite3.Cursor, at: int) -> str:
        db.execute("INSERT INTO marks (name, filler) VALUES (?, zeroblob(?))", (name, filler_bytes))
        return name

    return work


class Gate:
    """Work that keeps the writer busy until ``open()``; ``entered`` tells that it is."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self, db: sqlite3.Cursor, at: int) -> None:
        self.entered.set()
        assert self._opened.wait(10)

    def open(self) -> None:
        self._opened.set()


async def busy(writer: Writer) -> Gate:
    """The writer, inside a job, until the gate is opened."""
    gate = Gate()
    writer.submit(gate)
    await asyncio.to_thread(gate.entered.wait, 10)
    return gate


async def test_what_queues_up_during_a_commit_shares_the_next_one(writer: Writer, database: Database) -> None:
    gate = await busy(writer)
    marks = [writer.submit(mark(f"m{n}")) for n in range(300)]
    assert database.commits == 0
    gate.open()
    assert await asyncio.gather(*marks) == [f"m{n}" for n in range(300)]
    assert database.commits == 3  # the gate; 256, which is batch_max; the other 44


async def test_alone_a_job_is_committed_at_once(writer: Writer, database: Database) -> None:
    for n in range(3):
        await writer.submit(mark(f"m{n}"))
    assert database.commits == 3


async def test_jobs_are_done_in_the_order_they_were_queued(writer: Writer, database: Database) -> None:
    gate = await busy(writer)
    jobs = [writer.submit(mark("a")), writer.finish(mark("b")), writer.owe(mark("c")), writer.submit(mark("d"))]
    gate.open()
    await asyncio.gather(*jobs)
    assert database.names() == ["a", "b", "c", "d"]


async def test_a_batch_has_one_time(writer: Writer) -> None:
    assert await writer.submit(lambda db, at: at) == 7


async def test_a_job_that_raises_fails_alone_and_leaves_nothing(writer: Writer, database: Database) -> None:
    def half(db: sqlite3.Cursor, at: int) -> None:
        db.execute(ADD, ("half",))
        raise ZeroDivisionError

    gate = await busy(writer)
    jobs: list[asyncio.Future[object]] = [writer.submit(job) for job in (mark("a"), half, mark("a"), mark("b"))]
    gate.open()
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(answer) for answer in answers] == [str, ZeroDivisionError, AssertionError, str]
    assert database.names() == ["a", "b"]
    assert database.commits == 2


@pytest.mark.parametrize("value", ["\ud800", 2**63])
async def test_a_value_no_database_takes_is_the_callers_mistake(writer: Writer, value: object) -> None:
    def bind(db: sqlite3.Cursor, at: int) -> None:
        db.execute("SELECT ?", (value,))

    with pytest.raises(BadRequest):
        await writer.submit(bind)


async def test_a_full_queue_refuses_at_once_but_takes_what_ends_something(writer: Writer) -> None:
    gate = await busy(writer)
    queued = [writer.submit(mark(f"m{n}")) for n in range(600)]
    refused = writer.submit(mark("one too many"))
    assert refused.done()
    with pytest.raises(JournalUnavailable, match="queue_max"):
        await refused
    ends = [writer.finish(mark("close")), writer.owe(mark("withdraw"))]
    gate.open()
    await asyncio.gather(*queued, *ends)


async def test_a_waiter_that_was_cancelled_is_left_alone_and_its_work_is_done(
    writer: Writer, database: Database
) -> None:
    gate = await busy(writer)
    gone = writer.submit(mark("a"))
    gone.cancel()
    gate.open()
    await writer.submit(mark("b"))
    assert database.names() == ["a", "b"]


async def test_closing_commits_what_is_queued_and_then_refuses(database: Database) -> None:
    writer = Writer(database.connect, lambda: 7)
    jobs = [writer.submit(mark(f"m{n}")) for n in range(300)]
    await writer.aclose()
    await writer.aclose()
    assert len(database.names()) == 300
    assert [job.result() for job in jobs] == [f"m{n}" for n in range(300)]
    with pytest.raises(JournalUnavailable, match="closed"):
        await writer.submit(mark("late"))


# --- a store that fails: real SQLite errors -----------------------------------------------------------------------------


async def fails_then_recovers(writer: Writer, mend: Callable[[], object]) -> None:
    with pytest.raises(JournalUnavailable):
        await writer.submit(mark("while it fails", 100_000))
    mend()
    assert await writer.submit(mark("after", 100_000)) == "after"


async def test_a_locked_database_fails_the_batch_and_then_recovers(writer: Writer, database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await fails_then_recovers(writer, partial(other.execute, "ROLLBACK"))
    assert len(database.connections) == 1
    other.close()


async def test_a_full_disk_fails_the_batch_and_then_recovers(writer: Writer, database: Database) -> None:
    database.prepare = lambda connection: connection.execute("PRAGMA max_page_count = 4")
    await fails_then_recovers(writer, lambda: database.connections[0].execute("PRAGMA max_page_count = 1000"))
    assert database.names() == ["after"]


async def test_a_read_only_database_fails_the_batch_and_then_recovers(writer: Writer, database: Database) -> None:
    database.prepare = lambda connection: connection.execute("PRAGMA query_only = on")

    def mend() -> None:
        database.prepare = lambda connection: None

    await fails_then_recovers(writer, mend)
    assert len(database.connections) == 2


async def test_a_database_that_cannot_be_opened_fails_the_batch_and_then_recovers(
    writer: Writer, database: Database
) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    def mend() -> None:
        database.prepare = lambda connection: None

    database.prepare = refuse
    await fails_then_recovers(writer, mend)
    assert database.names() == ["after"]


async def test_a_clock_that_raises_does_not_end_the_writer(database: Database) -> None:
    divisors = iter([0, 1])
    writer = Writer(database.connect, lambda: 7 // next(divisors))
    await fails_then_recovers(writer, lambda: None)
    await writer.aclose()


async def test_all_of_a_batch_fails_with_its_commit_and_nothing_is_half_done(
    writer: Writer, database: Database
) -> None:
    database.prepare = lambda connection: connection.execute("PRAGMA max_page_count = 4")
    gate = await busy(writer)
    jobs = [writer.submit(mark("small")), writer.submit(mark("large", 100_000)), writer.submit(mark("other"))]
    gate.open()
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(answer) for answer in answers] == [JournalUnavailable] * 3
    assert database.names() == []


async def test_what_is_owed_is_done_as_soon_as_the_store_is_back_though_nobody_asks(
    writer: Writer, database: Database
) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    owed = writer.owe(mark("owed"))
    with pytest.raises(JournalUnavailable):
        await writer.submit(mark("lost"))
    assert not owed.done()
    other.execute("ROLLBACK")
    other.close()
    assert await asyncio.wait_for(owed, 10) == "owed"
    assert database.names() == ["owed"]


async def test_what_is_owed_at_the_end_is_tried_once_more_and_then_told(database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = Writer(database.connect, lambda: 7)
    owed = writer.owe(mark("owed"))
    await writer.aclose()
    other.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        await owed


async def test_work_aside_runs_between_two_transactions_in_its_turn(writer: Writer, database: Database) -> None:
    def look(db: sqlite3.Cursor, at: int) -> tuple[bool, list[str]]:
        return db.connection.in_transaction, database.names()

    gate = await busy(writer)
    before, aside, after = writer.submit(mark("a")), writer.aside(look), writer.submit(mark("b"))
    gate.open()
    assert await aside == (False, ["a"])
    assert (await before, await after) == ("a", "b")
    assert database.names() == ["a", "b"]


async def test_work_aside_that_fails_is_told_and_the_writer_goes_on(writer: Writer, database: Database) -> None:
    def fail(db: sqlite3.Cursor, at: int) -> None:
        raise sqlite3.OperationalError("no")

    with pytest.raises(JournalUnavailable):
        await writer.aside(fail)
    assert await writer.submit(mark("a")) == "a"


async def test_work_aside_that_was_queued_last_is_done_before_the_end(database: Database) -> None:
    writer = Writer(database.connect, lambda: 7)
    done = writer.aside(lambda db, at: at)
    await writer.aclose()
    assert await done == 7
