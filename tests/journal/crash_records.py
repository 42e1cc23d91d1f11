"""A process to be killed: users call, are erased, old calls are pruned, backups are made; it says what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

from proxy.journal.backup import back_up
from proxy.journal.listing_sql import first_id
from proxy.journal.sqlite import SqliteStore, open_sqlite
from proxy.journal.upkeep import finish_erasing
from tests.journal.contract import answered, offer, reserve

CALLS = 12


async def main(path: Path, owner: str) -> None:
    store = await open_sqlite(path, durability="relaxed", owner=owner)
    async with asyncio.TaskGroup() as group:
        group.create_task(erasing(store, owner))
        group.create_task(pruning(store))
        group.create_task(copying(path, owner))


async def erasing(store: SqliteStore, owner: str) -> None:
    for n in itertools.count():
        user = f"{owner}-user-{n}"
        for k in range(CALLS):
            call_id = f"{first_id(time.time_ns() // 1_000_000)}-{owner}-{n}-{k}"
            await store.reserve(reserve(call_id, offer(1), account=f"main/{user}", workspace=f"of {user}"))
            await store.close(answered(call_id, 1))
        await store.erase_user(f"main/{user}", f"erased-{owner}-{n}")
        await finish_erasing(store, rows_max=2)
        print(f"erased {user}", flush=True)


async def pruning(store: SqliteStore) -> None:
    while True:
        await store.prune(time.time_ns() // 1_000_000 - 30, rows_max=3)


async def copying(path: Path, owner: str) -> None:
    for n in itertools.count():
        to = path.with_name(f"copy-{owner}-{n}.db")
        await back_up(path, to)
        print(f"copied {to.name}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
