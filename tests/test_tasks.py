"""Tasks beside a body."""

from __future__ import annotations

import asyncio

import pytest

from proxy.tasks import beside


async def test_what_still_runs_is_cancelled_when_the_body_ends() -> None:
    ended = asyncio.Event()

    async def runs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with beside() as tasks:
        tasks.start(runs())
        await asyncio.sleep(0)

    assert ended.is_set()


async def test_the_bodys_own_error_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with beside() as tasks:
            tasks.start(asyncio.sleep(60))
            raise LookupError


async def test_a_task_that_fails_ends_the_body() -> None:
    async def fails() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup):
        async with beside() as tasks:
            tasks.start(fails())
            await asyncio.Event().wait()
