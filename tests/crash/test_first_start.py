"""A first start that is killed while it makes its store: the next one makes it as if nothing had been."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from proxy.testing import ScriptedUpstream
from tests.processes import broken, rows, serving, write
from tests.story.conftest import FILES, config

# Pages that do not fit its cache are in the file before the commit, and the journal that undoes them beside it.
KILLED_BEFORE_ITS_COMMIT = """
import os, signal, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN IMMEDIATE")
for number in range(50):
    store.execute(f"CREATE TABLE t{number} (a TEXT)")
    store.execute(f"INSERT INTO t{number} VALUES (?)", ("x" * 8000,))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_store_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    store = tmp_path / "orch.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_BEFORE_ITS_COMMIT, str(store))
    assert await process.wait() == -9
    assert store.stat().st_size > 0
    assert store.with_name("orch.db-journal").stat().st_size > 0

    async with ScriptedUpstream() as upstream:
        write(tmp_path, {"config.yaml": config(upstream), **FILES})
        async with serving(tmp_path) as served:
            await served.user_key("ana", energy=100)
            assert await broken(store) == []
            assert rows(store) == {}
