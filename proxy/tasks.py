"""Tasks beside a body: they end when it ends, and its own error comes out as it is, not wrapped in a group's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class Beside:
    """Starts tasks that are cancelled when the body ends."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()


@asynccontextmanager
async def beside() -> AsyncIterator[Beside]:
    """A task that fails ends the body, as in a task group; the body's end cancels what still runs."""
    failed: Exception | None = None
    async with asyncio.TaskGroup() as group:
        tasks = Beside(group)
        try:
            yield tasks
        except Exception as error:
            failed = error  # carried past the group, which would wrap it
        finally:
            tasks.cancel()
    if failed is not None:
        raise failed
