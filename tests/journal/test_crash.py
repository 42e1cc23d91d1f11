"""``kill -9`` under load: what was acknowledged is there, what was open is closed, and the books are right."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from proxy.journal.sqlite import open_sqlite, read_only
from proxy.journal.upkeep import finish_erasing
from tests.journal.contract import fresh_database

ROUNDS = 5
ACKNOWLEDGED_MAX = 400
ROOT = Path(__file__).resolve().parents[2]


def killed_under_load(path: Path, owner: str, *, after: int, load: str = "crash_writer") -> list[str]:
    """What the process had acknowledged when it was killed, somewhere after that many acknowledgements."""
    command = [sys.executable, "-m", f"tests.journal.{load}", str(path), owner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
    assert process.returncode == -9
    return [line.strip() for line in lines if line.endswith("\n")]


async def test_kill_9_loses_no_acknowledged_close_and_holds_nothing_back(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for n in range(ROUNDS):
        acknowledged += killed_under_load(path, f"p{n}", after=chance.randint(1, ACKNOWLEDGED_MAX))
        store = await open_sqlite(path, durability="relaxed", owner=f"after {n}")
        assert await store.verify() == []
        await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute("SELECT id, points_charged - points_refunded FROM calls"))
        states = dict(connection.execute("SELECT how, count(*) FROM calls GROUP BY how"))
        held, balance = connection.execute("SELECT sum(held), sum(balance) FROM accounts").fetchone()
        accounts = connection.execute("SELECT count(*) FROM accounts").fetchone()[0]
    for line in acknowledged:
        said, call_id, points = line.split()
        assert call_id in rows
        assert said == "reserved" or rows[call_id] == int(points)
    assert held == 0
    assert balance == accounts * 1_000_000 - sum(rows.values())
    assert states.get("unknown", 0) > 0, (
        "nothing was running when it was killed: the load is too light to prove anything"
    )


async def test_kill_9_leaves_no_erasure_pruning_or_backup_half_done(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    said: list[str] = []
    for n in range(3):
        said += killed_under_load(path, f"p{n}", after=chance.randint(1, 12), load="crash_records")
        store = await open_sqlite(path, durability="relaxed", owner=f"after {n}")
        assert await store.verify() == []
        await finish_erasing(store)
        assert await store.verify() == []
        await store.aclose()
    names = [line.split()[1] for line in said if line.startswith("erased")]
    with closing(sqlite3.connect(path)) as connection:
        text = "\n".join(connection.iterdump())
        assert connection.execute("SELECT count(*) FROM pruned").fetchone()[0] > 0
    assert [name for name in names if f"{name}'" in text] == []
    for copy in tmp_path.glob("copy-*.db"):
        async with read_only(copy) as reader:
            assert await reader.verify() == []
    assert {line.split()[1] for line in said if line.startswith("copied")} <= {file.name for file in tmp_path.iterdir()}
