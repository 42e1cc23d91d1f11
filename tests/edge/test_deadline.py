"""A deadline fires once, at the time set last."""

from __future__ import annotations

import asyncio

from proxy.edge.deadline import Deadline


class Late:
    """Remembers when it was called, in the loop's time."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.called = asyncio.Event()

    def __call__(self) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        self.called.set()


async def test_it_fires_once_and_not_before_its_time() -> None:
    loop, late = asyncio.get_running_loop(), Late()
    deadline = Deadline(loop, late)
    at = loop.time() + 0.01

    deadline.set(at)
    await late.called.wait()
    await asyncio.sleep(0)

    assert len(late.calls) == 1
    assert late.calls[0] >= at


async def test_moved_on_it_waits_for_the_later_time() -> None:
    loop, late = asyncio.get_running_loop(), Late()
    deadline = Deadline(loop, late)

    deadline.set(loop.time() + 0.001)
    later = loop.time() + 0.03
    deadline.set(later)
    await late.called.wait()

    assert late.calls[0] >= later


async def test_moved_ahead_it_does_not_wait_for_the_time_before() -> None:
    loop, late = asyncio.get_running_loop(), Late()
    deadline = Deadline(loop, late)

    deadline.set(loop.time() + 3600)
    deadline.set(loop.time() + 0.001)

    async with asyncio.timeout(30):
        await late.called.wait()


async def test_cleared_or_stopped_it_does_not_fire() -> None:
    loop, cleared, stopped, last = asyncio.get_running_loop(), Late(), Late(), Late()
    at = loop.time() + 0.005
    (first := Deadline(loop, cleared)).set(at)
    (second := Deadline(loop, stopped)).set(at)
    Deadline(loop, last).set(at + 0.02)

    first.clear()
    second.stop()
    await last.called.wait()

    assert (cleared.calls, stopped.calls) == ([], [])


async def test_cleared_it_can_be_set_again() -> None:
    loop, late = asyncio.get_running_loop(), Late()
    deadline = Deadline(loop, late)

    deadline.set(loop.time() + 0.005)
    deadline.clear()
    deadline.set(loop.time() + 0.02)

    await late.called.wait()
    assert len(late.calls) == 1
