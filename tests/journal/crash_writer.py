"""A process that makes calls on a ledger until it is killed, and prints every acknowledgement: ``python … PATH OWNER``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from proxy.call import Opening
from proxy.journal.port import Reserved
from proxy.journal.sqlite import SqliteStore, open_sqlite
from tests.journal.contract import answered, offer, reserve

CALLERS = 32
CALLS_MAX = 20_000


async def call(store: SqliteStore, owner: str, n: int) -> None:
    """One call; each line is printed after its commit was acknowledged."""
    call_id = f"{owner}-{n}"
    opening = Opening("free", 1_000_000)
    asked = reserve(call_id, offer(10, if_unknown=4), account=f"main/u{n % 5}", opening=opening)
    assert isinstance(await store.reserve(asked), Reserved)
    said(f"reserved {call_id} 0")
    points = n % 11
    if n % 7 == 0:
        await store.withdraw(call_id)
        said(f"closed {call_id} 0")
    else:
        await store.close(answered(call_id, points))
        said(f"closed {call_id} {points}")


def said(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # whole lines, unbuffered: what was written was acknowledged


async def main(path: Path, owner: str) -> None:
    store = await open_sqlite(path, durability="relaxed", owner=owner)
    numbers = iter(range(CALLS_MAX))

    async def caller() -> None:
        for n in numbers:
            await call(store, owner, n)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
