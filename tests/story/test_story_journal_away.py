"""The store goes away while the proxy runs: nothing goes upstream unrecorded, nothing unrecorded is an answer or is charged."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import (
    ScriptedUpstream,
    Step,
    answer,
    completion,
    delta,
    done,
    end,
    event,
    finish,
    head,
    role,
    tell,
    wait_for,
)
from tests.processes import POLL_S, Served, broken, closed, query, rows, serving, write
from tests.story.conftest import FILES, config

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**CHAT, "stream": True}
ENERGY_AT_START = 100
PRICE = 3
SOON = "limits: {close_wait_s: 0.2, drain_s: 0}"
WAIT_S = 30


@contextmanager
def held_by_another(served: Served) -> Iterator[None]:
    """Another process has the file's write lock."""
    with contextlib.closing(sqlite3.connect(served.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def unwritable(served: Served) -> Iterator[None]:
    """No write to any file succeeds: the kernel refuses the process's, as a disk does that is full."""
    before = resource.prlimit(served.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.child.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(served.child.pid, resource.RLIMIT_FSIZE, before)


Away = Callable[[Served], AbstractContextManager[None]]
AWAY: Sequence[Away] = (held_by_another, unwritable)


@asynccontextmanager
async def proxy(
    tmp_path: Path, upstream: ScriptedUpstream, extra: str = ""
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    """A running proxy, and a client of it with 100 points; its books are right in the end."""
    write(tmp_path, {"config.yaml": config(upstream, extra), **FILES})
    async with serving(tmp_path) as served:
        headers = {"authorization": f"Bearer {await served.user_key('ana', energy=ENERGY_AT_START)}"}
        async with httpx.AsyncClient(base_url=served.root_url, headers=headers, timeout=WAIT_S) as client:
            yield served, client
        assert await broken(served.database) == []


async def ready(client: httpx.AsyncClient, status: int) -> None:
    """Wait until ``/readyz`` says so."""
    async with asyncio.timeout(WAIT_S):
        while (await client.get("/readyz")).status_code != status:
            await asyncio.sleep(POLL_S)


def balance(served: Served) -> tuple[int, int]:
    (row,) = query(served.database, "SELECT balance, held FROM accounts WHERE user_id = 'ana'")
    return row["balance"], row["held"]


@pytest.mark.parametrize("away", AWAY)
async def test_while_the_store_is_away_calls_are_refused_and_nothing_goes_upstream(
    tmp_path: Path, upstream: ScriptedUpstream, away: Away
) -> None:
    async with proxy(tmp_path, upstream) as (served, client):
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        with away(served):
            await ready(client, 503)
            for body in (CHAT, STREAM):
                refused = await client.post("/v1/chat/completions", json=body)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["error"]["code"] == "journal_unavailable"
                assert "x-should-retry" not in refused.headers
            assert len(upstream.requests) == 1

        await ready(client, 200)
        again = await client.post("/v1/chat/completions", json=CHAT)
        assert again.headers["x-orch-energy-remaining"] == str(ENERGY_AT_START - 2 * PRICE)
    assert len(upstream.requests) == 2
    assert balance(served) == (ENERGY_AT_START - 2 * PRICE, 0)


def held_back(body: Any, moment: asyncio.Event, started: asyncio.Event) -> list[Step]:
    """An answer that completes at ``moment``; a stream has shown content before."""
    if body is CHAT:
        return [tell(started), wait_for(moment), *answer(completion(model="gpt-4o-mini"))]
    opening = [head(), event(role()), event(delta("Hel")), tell(started)]
    return [*opening, wait_for(moment), event(delta("lo")), event(finish()), done(), end()]


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
async def test_an_answer_whose_outcome_cannot_be_recorded_is_withheld_and_free(
    tmp_path: Path, upstream: ScriptedUpstream, body: Any, away: Away
) -> None:
    moment, started = asyncio.Event(), asyncio.Event()
    upstream.will(held_back(body, moment, started))
    async with proxy(tmp_path, upstream, SOON) as (served, client), asyncio.TaskGroup() as group:
        asking = group.create_task(client.post("/v1/chat/completions", json=body))
        await started.wait()
        with away(served):
            moment.set()
            withheld(await asking)
            await served.child.err.said("the ledger does not take writes")

        row = await closed(served.database, str(upstream.requests[0].call_id))
        assert row["how"] == "not_recorded"
        assert row["points_charged"] == row["points_refunded"]
        assert balance(served) == (ENERGY_AT_START, 0)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert len(upstream.requests) == 2


async def test_an_outcome_that_is_committed_too_late_is_taken_back(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    moment, started = asyncio.Event(), asyncio.Event()
    upstream.will(held_back(STREAM, moment, started))
    async with proxy(tmp_path, upstream, SOON) as (served, client), asyncio.TaskGroup() as group:
        asking = group.create_task(client.post("/v1/chat/completions", json=STREAM))
        await started.wait()
        with held_by_another(served):
            moment.set()
            withheld(await asking)  # and the writer still waits for the lock

        row = await closed(served.database, str(upstream.requests[0].call_id))
        async with asyncio.timeout(WAIT_S):
            while row["points_charged"] != row["points_refunded"]:
                row = (await asyncio.to_thread(rows, served.database))[row["id"]]
        assert balance(served) == (ENERGY_AT_START, 0)


def withheld(response: httpx.Response) -> None:
    """No complete answer, no word of a charge, and no invitation to have it made again."""
    assert "x-orch-energy-charged" not in response.headers
    if response.status_code == 200:
        assert b'"code":"journal_unavailable"' in response.content.split(b"\n\n")[-2]
        assert b"[DONE]" not in response.content
        return
    assert (response.status_code, response.headers["x-should-retry"]) == (503, "false")
    assert response.json()["error"]["code"] == "journal_unavailable"


async def test_a_proxy_told_to_end_while_its_store_is_away_ends_and_the_next_one_clears_up(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    moment, started = asyncio.Event(), asyncio.Event()
    upstream.will(held_back(STREAM, moment, started))
    async with proxy(tmp_path, upstream, SOON) as (served, client), asyncio.TaskGroup() as group:
        asking = group.create_task(client.post("/v1/chat/completions", json=STREAM))
        await started.wait()
        with held_by_another(served):
            moment.set()
            withheld(await asking)
            served.child.send(signal.SIGTERM)
            assert await served.child.ended() == 0
        assert balance(served) == (ENERGY_AT_START, PRICE)

        async with serving(tmp_path):
            row = rows(served.database)[str(upstream.requests[0].call_id)]
            assert (row["how"], row["points_charged"]) == ("unknown", 0)
            assert balance(served) == (ENERGY_AT_START, 0)
