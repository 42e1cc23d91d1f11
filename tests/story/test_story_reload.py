"""Editing a running proxy's files: what is good goes live for new calls, what is not is refused, nobody's call notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from proxy.testing import ScriptedUpstream, Step, delta, done, end, event, finish, head, role, wait_for
from tests.processes import POLL_S, WAIT_S, Served, broken, query, rows, serving, until, write
from tests.story.conftest import ENERGY, FILES, POLICIES, config

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**CHAT, "stream": True}
ENERGY_AT_START = 10_000
PRICE = 3
REFUSED = "configuration refused, the last good one goes on"


def costing(points: int) -> dict[str, str]:
    """The price list with another price of an economy model's answer."""
    return {"policies/energy.yaml": ENERGY.replace("economy: 3", f"economy: {points}")}


@asynccontextmanager
async def proxy(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    write(tmp_path, {"config.yaml": config(upstream), **FILES})
    async with serving(tmp_path) as served:
        headers = {"authorization": f"Bearer {await served.user_key('ana', energy=ENERGY_AT_START)}"}
        async with httpx.AsyncClient(base_url=served.root_url, headers=headers, timeout=WAIT_S) as client:
            yield served, client
        assert await broken(served.database) == []
    assert "Traceback" not in served.child.err.text


async def version(client: httpx.AsyncClient) -> str:
    """The policy version in force."""
    return str((await client.get("/readyz")).json()["policy"])


async def other_than(client: httpx.AsyncClient, before: str) -> str:
    """The next policy version, once it is live."""
    async with asyncio.timeout(WAIT_S):
        while (now := await version(client)) == before:
            await asyncio.sleep(POLL_S)
    return now


async def ask(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await client.post("/v1/chat/completions", json={**CHAT, **changes})


def recorded(served: Served, response: httpx.Response) -> dict[str, Any]:
    return rows(served.database)[response.headers["x-request-id"]]


# --- what is good goes live -------------------------------------------------------------------------------------------


async def test_a_new_price_is_live_for_new_calls_while_a_call_in_flight_keeps_its_own(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    moment = asyncio.Event()
    upstream.will(slow(moment))
    async with proxy(tmp_path, upstream) as (served, client):
        old = await version(client)
        async with streaming(client) as in_flight:
            write(tmp_path, costing(4))
            new = await other_than(client, old)
            after = await ask(client)
            moment.set()
            assert (await in_flight.aread()).endswith(b"data: [DONE]\n\n")

        assert (after.headers["x-orch-policy"], after.headers["x-orch-energy-charged"]) == (new, "4")
        assert in_flight.headers["x-orch-policy"] == old
        first, second = recorded(served, in_flight), recorded(served, after)
    assert (first["policy_version"], first["points_charged"]) == (old, PRICE)
    assert (second["policy_version"], second["points_charged"]) == (new, 4)
    assert first["price_version"] != second["price_version"]
    kept = {row["version"]: row["files"] for row in query(served.database, "SELECT * FROM policy_versions")}
    assert ["economy: 4" in kept[name] for name in (old, new)] == [False, True]


async def test_an_alias_that_is_added_can_be_asked_for(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with proxy(tmp_path, upstream) as (_, client):
        old = await version(client)
        assert (await ask(client, model="quick")).status_code == 404

        write(tmp_path, {"policies/default.yaml": POLICIES.replace("{smart:", "{quick: gpt-4o-mini, smart:")})
        await other_than(client, old)

        assert (await ask(client, model="quick")).headers["x-orch-model"] == "gpt-4o-mini"


async def test_every_call_is_charged_by_the_version_it_names_while_versions_change_under_load(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    prices = {}
    over = asyncio.Event()
    async with proxy(tmp_path, upstream) as (served, client):

        async def keep_asking() -> list[httpx.Response]:
            return [await ask(client) async for _ in _until_set(over)]

        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(keep_asking()) for _ in range(3)]
            live = await version(client)
            prices[live] = PRICE
            for points in (5, 6, 7):
                write(tmp_path, costing(points))
                live = await other_than(client, live)
                prices[live] = points
            over.set()

        answers = [answer for caller in callers for answer in caller.result()]
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            assert answer.headers["x-orch-energy-charged"] == str(prices[answer.headers["x-orch-policy"]])
            assert recorded(served, answer)["policy_version"] == answer.headers["x-orch-policy"]
        assert len({answer.headers["x-orch-policy"] for answer in answers}) > 1


async def _until_set(over: asyncio.Event) -> AsyncIterator[None]:
    while not over.is_set():
        yield


async def test_another_base_url_goes_live_and_an_old_client_is_closed_once_nobody_uses_it(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    upstream.will(slow(first))
    async with (
        ScriptedUpstream() as next_one,
        ScriptedUpstream() as last,
        proxy(tmp_path, upstream) as (served, client),
    ):
        async with streaming(client) as on_the_first:
            await moved(tmp_path, client, next_one)
            next_one.will(slow(second))
            async with streaming(client) as on_the_second:
                await moved(tmp_path, client, last)
                assert await asyncio.to_thread(_connections, served, upstream.port) > 0
                first.set()
                assert (await on_the_first.aread()).endswith(b"data: [DONE]\n\n")

                await until(lambda: _connections(served, upstream.port) == 0)
                assert await asyncio.to_thread(_connections, served, next_one.port) > 0
                second.set()
                assert (await on_the_second.aread()).endswith(b"data: [DONE]\n\n")

        await until(lambda: _connections(served, next_one.port) == 0)
        assert (await ask(client)).status_code == 200


def slow(moment: asyncio.Event) -> list[Step]:
    """A stream that ends at ``moment``."""
    return [head(), event(role()), event(delta("a")), wait_for(moment), event(finish()), done(), end()]


def streaming(client: httpx.AsyncClient) -> AbstractAsyncContextManager[httpx.Response]:
    return client.stream("POST", "/v1/chat/completions", json=STREAM)


async def moved(tmp_path: Path, client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    """Point the configuration there, and wait until it is live: embeddings are asked for, which nobody holds back."""
    write(tmp_path, {"config.yaml": config(upstream)})
    embed = {"model": "text-embedding-3-small", "input": "hi"}
    async with asyncio.timeout(WAIT_S):
        while not upstream.requests:
            assert (await client.post("/v1/embeddings", json=embed)).status_code == 200


def _connections(served: Served, port: int) -> int:
    """How many connections the proxy has to that port."""
    return sum(1 for there in psutil.Process(served.child.pid).net_connections("tcp") if there.raddr[1:] == (port,))


# --- what is not good changes nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "policies/energy.yaml",
            ENERGY.replace("economy: 3", "economy: -3"),
            r"policies/energy\.yaml:3:38 .*actions\.ai_message\.economy: ",
        ),
        (
            "policies/default.yaml",
            POLICIES.replace("kind: retry", "kind: retyr"),
            r"policies/default\.yaml:6:\d+ .*retry",
        ),
        ("config.yaml", "upstreams: [", r"config\.yaml:\d+:\d+ "),
    ],
)
async def test_a_broken_edit_is_refused_by_line_and_its_repair_goes_live(
    tmp_path: Path, upstream: ScriptedUpstream, name: str, text: str, said: str
) -> None:
    async with proxy(tmp_path, upstream) as (served, client):
        before = await version(client)
        write(tmp_path, {name: text})
        await served.child.err.said(REFUSED)
        await served.child.err.said(said)
        assert await version(client) == before
        assert (await ask(client)).headers["x-orch-energy-charged"] == str(PRICE)

        write(tmp_path, {"config.yaml": config(upstream), **FILES, **costing(4)})
        await other_than(client, before)
        assert (await ask(client)).headers["x-orch-energy-charged"] == "4"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.yaml", r"config\.yaml is gone: put it back, or restart to go on without it"),
        ("policies/default.yaml", r"policies/default\.yaml is gone: put it back, or restart to go on without it"),
        ("policies/energy.yaml", r"policies/default\.yaml:4:26 .*no file 'energy\.yaml'"),
    ],
)
async def test_a_file_that_vanishes_changes_nothing_until_it_is_back(
    tmp_path: Path, upstream: ScriptedUpstream, name: str, said: str
) -> None:
    async with proxy(tmp_path, upstream) as (served, client):
        before = await version(client)
        (tmp_path / name).unlink()
        await served.child.err.said(REFUSED)
        await served.child.err.said(said)
        assert await version(client) == before
        assert (await ask(client)).headers["x-orch-model"] == "gpt-4o-mini"

        write(tmp_path, {"config.yaml": config(upstream), **FILES, **costing(4)})
        await other_than(client, before)
    assert len(upstream.requests) == 1


# --- signals, and what a reload cannot do -----------------------------------------------------------------------------


async def test_sighup_reads_again_what_has_not_changed(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with proxy(tmp_path, upstream) as (served, client):
        write(tmp_path, {"policies/energy.yaml": "actions: 1"})
        await served.child.err.said(r"policies/energy\.yaml:1:10 ")
        for _ in range(2):
            seen = len(served.child.err.lines)
            served.child.send(signal.SIGHUP)
            await served.child.err.said(r"policies/energy\.yaml:1:10 ", since=seen)
        assert (await ask(client)).status_code == 200


async def test_an_edit_that_the_store_could_not_take_goes_live_by_sighup(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with proxy(tmp_path, upstream) as (served, client):
        before = await version(client)
        with contextlib.closing(sqlite3.connect(served.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            write(tmp_path, costing(4))
            await served.child.err.said("configuration not applied, the last good one goes on: .*SIGHUP")
        assert await version(client) == before

        served.child.send(signal.SIGHUP)
        await other_than(client, before)
        assert (await ask(client)).headers["x-orch-energy-charged"] == "4"


async def test_what_needs_a_restart_is_said_and_the_rest_of_the_edit_goes_live(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    edited = config(upstream, 'server: {listen: "127.0.0.1:4999"}').replace("orch.db", "other.db")
    async with ScriptedUpstream() as other, proxy(tmp_path, upstream) as (served, client):
        write(tmp_path, {"config.yaml": edited.replace(upstream.base_url, other.base_url)})
        for name in ("server.listen", "store"):
            await served.child.err.said(rf"{name} has changed: restart the proxy to apply it")
        async with asyncio.timeout(WAIT_S):
            while not other.requests:
                assert (await ask(client)).status_code == 200
        assert json.loads((await client.get("/v1/energy")).content)["balance"] < ENERGY_AT_START
    assert not (tmp_path / "other.db").exists()
