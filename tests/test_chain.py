"""The fold: policies around the terminal handler, outermost first."""

from __future__ import annotations

import asyncio

import pytest

from proxy.call import Call, Handler, Outcome
from proxy.chain import chain
from proxy.errors import UpstreamUnavailable
from proxy.testing import fake_call


class Noting:
    """A policy that notes when it is entered and left."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        self._notes.append(f"{self._name} in")
        try:
            return await call_next(call.on(call.model + self._name))
        finally:
            self._notes.append(f"{self._name} out")


def _terminal(notes: list[str]) -> Handler:
    async def terminal(call: Call) -> Outcome:
        notes.append(call.model)
        raise UpstreamUnavailable("nobody is there")

    return terminal


async def test_the_first_policy_is_the_outermost_and_each_spans_the_whole_call() -> None:
    notes: list[str] = []
    handler = chain([Noting("a", notes), Noting("b", notes)], _terminal(notes))

    with pytest.raises(UpstreamUnavailable):
        await handler(fake_call(model="m"))

    assert notes == ["a in", "b in", "mab", "b out", "a out"]


async def test_a_cancelled_call_is_left_by_every_policy() -> None:
    notes: list[str] = []
    reached = asyncio.Event()

    async def hangs(call: Call) -> Outcome:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        await chain([Noting("a", notes), Noting("b", notes)], hangs)(fake_call())

    async with asyncio.TaskGroup() as group:
        running = group.create_task(run())
        await reached.wait()
        running.cancel()

    assert notes == ["a in", "b in", "b out", "a out"]


async def test_a_policy_may_call_next_more_than_once() -> None:
    asked: list[str] = []

    class Twice:
        async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
            try:
                return await call_next(call)
            except UpstreamUnavailable:
                return await call_next(call.on("other"))

    with pytest.raises(UpstreamUnavailable):
        await chain([Twice()], _terminal(asked))(fake_call(model="m"))

    assert asked == ["m", "other"]
