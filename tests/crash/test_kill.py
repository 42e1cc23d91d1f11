"""``kill -9`` of the whole proxy under load: no acknowledged answer is lost or charged twice, nothing stays held."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.journal.lock import holder
from proxy.testing import ScriptedUpstream
from tests.crash.load import Load
from tests.processes import Served, broken, query, ran, rows, serving, started, until, write
from tests.story.conftest import ENERGY, POLICIES, config

USERS = tuple(f"user-{n}" for n in range(6))
POOR = "poor"
RICH_ENERGY, POOR_ENERGY = 100_000, 100
PRICES = {"gpt-4o": 10, "gpt-4o-mini": 3}
EVENTS_MAX = 500
Rows = Mapping[str, Mapping[str, Any]]


@pytest.mark.parametrize(("on_unknown", "rounds"), [("release", 3), ("charge", 2)])
async def test_after_kill_9_under_load_the_next_start_balances_the_books(
    tmp_path: Path, store: Path, on_unknown: str, rounds: int
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    policies = POLICIES.replace("prices: energy.yaml", f"prices: energy.yaml, on_unknown: {on_unknown}")
    left_open: dict[str, int] = {}
    async with ScriptedUpstream() as upstream:
        write(
            tmp_path,
            {"config.yaml": config(upstream), "policies/default.yaml": policies, "policies/energy.yaml": ENERGY},
        )
        load = Load(upstream, chance)
        keys: dict[str, str] = {}
        for _ in range(rounds):
            async with serving(tmp_path) as served:
                keys = keys or await opened(served)
                await killed_under(load, served, keys, events=chance.randint(20, EVENTS_MAX))
            left_open |= still_open(store, tmp_path / "as-it-was-left")
            await killed_while_starting(tmp_path, store, after_s=chance.random() / 50)

        async with serving(tmp_path):
            assert await broken(store) == []
            after = rows(store)
            nothing_is_left_over(store, after, left_open, charged=on_unknown == "charge")
            what_was_told_is_what_is_recorded(store, after, load)
            assert {request.call_id for request in upstream.requests} <= after.keys()
            assert max(Counter(request.call_id for request in upstream.requests).values()) == 1
            assert await ran("ledger", "verify", cwd=tmp_path) == (0, "ok: every invariant holds", "")


async def opened(served: Served) -> dict[str, str]:
    """A key for each user."""
    energy = dict.fromkeys(USERS, RICH_ENERGY) | {POOR: POOR_ENERGY}
    return {user: await served.user_key(user, energy=energy[user]) for user in energy}


async def killed_under(load: Load, served: Served, keys: Mapping[str, str], *, events: int) -> None:
    load.arm(events)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(served.base_url, keys))
        await load.over.wait()
        await served.child.kill()


async def killed_while_starting(directory: Path, store: Path, *, after_s: float) -> None:
    """A start that is killed while it clears up, at any moment of it."""
    async with started("serve", "--listen", "127.0.0.1:0", cwd=directory) as child:
        await until(lambda: (found := holder(store)) is not None and found.pid == child.pid)
        await asyncio.sleep(after_s)
        await child.kill()


def still_open(store: Path, copy: Path) -> dict[str, int]:
    """The calls a killed proxy left open and what each holds; read from a copy, for looking at a file may mend it."""
    copy.mkdir(exist_ok=True)
    for name in (store.name, f"{store.name}-wal"):
        shutil.copy(store.with_name(name), copy / name)
    return {call_id: row["points_held"] for call_id, row in rows(copy / store.name).items() if row["state"] == "open"}


def nothing_is_left_over(store: Path, after: Rows, left_open: Mapping[str, int], *, charged: bool) -> None:
    assert len(left_open) > 0, "nothing was running when it was killed: the load is too light to prove anything"
    assert query(store, "SELECT * FROM accounts WHERE held <> 0") == []
    assert {row["state"] for row in after.values()} <= {"closed", "refused"}
    assert {call_id for call_id, row in after.items() if row["how"] == "unknown"} == left_open.keys()
    for call_id, points in left_open.items():
        assert after[call_id]["points_charged"] == (points if charged else 0)


def what_was_told_is_what_is_recorded(store: Path, after: Rows, load: Load) -> None:
    assert Counter(load.told.values())["answered"] > 0
    for call_id, told in load.told.items():
        row = after[call_id]
        expected = PRICES[row["model"]] if told == "answered" else 0
        assert (row["how"] or row["state"], row["points_charged"], row["points_refunded"]) == (told, expected, 0)
    settled = {row["call_id"]: -row["points"] for row in query(store, SETTLED)}
    assert settled == {call_id: row["points_charged"] for call_id, row in after.items() if row["points_charged"]}
    for user in (*USERS, POOR):
        # Beyond what it was told, a user pays at most for answers it saw the beginning of, or nothing at all of.
        unseen = [call_id for call_id in settled if after[call_id]["user_id"] == user and call_id not in load.told]
        assert len([call_id for call_id in unseen if call_id not in load.cut]) <= load.blind[user]


SETTLED = "SELECT call_id, sum(points) AS points FROM entries WHERE kind = 'settle' GROUP BY call_id"
