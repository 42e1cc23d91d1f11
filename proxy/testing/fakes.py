"""Fakes of the ports and of a call: enough world for one policy, one handler or one upstream to run in a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from proxy.call import (
    CONTENT_PARTS,
    Account,
    Attempt,
    Call,
    Charge,
    Chunk,
    Cut,
    Deployment,
    Head,
    Model,
    Needs,
    Offer,
    Opening,
    Operation,
    Part,
    Ports,
    Principal,
    Role,
    Trace,
)
from proxy.errors import OrchError
from proxy.upstream.port import Take, UpstreamRequest


class Collected:
    """A reply that keeps what it is given. ``cut`` may be set; ``content`` is set when content came."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.chunks: list[Chunk] = []
        self.cut: Cut | None = None
        self.content = asyncio.Event()

    @property
    def started(self) -> bool:
        return self.content.is_set()

    @property
    def raw(self) -> bytes:
        """Everything that came, joined."""
        return b"".join(chunk.raw for chunk in self.chunks)

    @property
    def parts(self) -> list[Part]:
        return [chunk.part for chunk in self.chunks]

    async def open(self, head: Head) -> None:
        self.heads.append(head)

    async def send(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        if chunk.part in CONTENT_PARTS:
            self.content.set()


class FakeRoutes:
    """Routes without health or budget: every deployment is healthy but those whose id is in ``down``.

    ``repeats`` is how often ``may_repeat`` says yes; ``reported`` are the attempts it was told of, each when
    it began and again when it ended.
    """

    def __init__(self, *models: Model, repeats: int = 1_000, down: Iterable[str] = ()) -> None:
        self.models: Mapping[str, Model] = {model.name: model for model in models}
        self.repeats = repeats
        self.down = set(down)
        self.reported: list[Attempt] = []

    def fits(self, model: str, needs: Needs) -> bool:
        lacks = self.models[model].lacks
        return not any(getattr(needs, need, False) for need in lacks)

    def untried(self, model: str, attempts: Sequence[Attempt]) -> tuple[Deployment, ...]:
        tried = {(attempt.model, attempt.deployment.id) for attempt in attempts}
        return tuple(
            deployment
            for deployment in self.models[model].deployments
            if (model, deployment.id) not in tried and deployment.id not in self.down
        )

    def report(self, attempt: Attempt) -> None:
        self.reported.append(attempt)

    def may_repeat(self) -> bool:
        self.repeats -= 1
        return self.repeats >= 0


class FakeHold:
    """A hold that covers the models whose points in ``prices`` are within ``affordable``."""

    def __init__(
        self, points: int = 0, *, prices: Mapping[str, int] | None = None, affordable: int = 1_000_000
    ) -> None:
        self.points = points
        self.prices = dict(prices or {})
        self.affordable = affordable
        self.raised_for: list[str] = []

    async def raise_for(self, model: str) -> bool:
        price = self.prices.get(model, self.points)
        if price > self.affordable:
            return False
        self.raised_for.append(model)
        self.points = max(self.points, price)
        return True


class NullJournal:
    """A journal that keeps nothing: it yields the call on the first offer. ``offers``, ``refusals``: what it heard."""

    def __init__(self) -> None:
        self.offers: list[Sequence[Offer]] = []
        self.refusals: list[OrchError] = []

    @asynccontextmanager
    async def reserving(
        self, call: Call, offers: Sequence[Offer], *, opening: Opening, charge: Charge
    ) -> AsyncIterator[Call]:
        self.offers.append(offers)
        yield replace(call, model=offers[0].model, hold=FakeHold(offers[0].points))

    async def refused(self, call: Call, error: OrchError) -> None:
        self.refusals.append(error)


class Slept:
    """A sleep that takes no time and keeps what it was asked for, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


Scripted = bytes | Exception | asyncio.Event
"""What a FakeUpstream does next: hand on these bytes, raise this, or wait for this."""


class FakeUpstream:
    """An upstream in-process: each ``send`` plays the next script. ``cancelled``: how often it was cut."""

    def __init__(self, *scripts: Sequence[Scripted]) -> None:
        self.stream_usage = True
        self.secrets: tuple[str, ...] = ()
        self.scripts = list(scripts)
        self.requests: list[UpstreamRequest] = []
        self.cancelled = 0
        self.closed = False

    async def send(self, request: UpstreamRequest, take: Take) -> None:
        self.requests.append(request)
        try:
            for step in self.scripts.pop(0):
                await self._play(step, take)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _play(self, step: Scripted, take: Take) -> None:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, bytes):
            return await take(step)
        await step.wait()
        return None

    async def aclose(self) -> None:
        self.closed = True


def collected(call: Call) -> Collected:
    """The call's reply, which must be the one that ``fake_call`` gave it."""
    assert isinstance(call.reply, Collected)
    return call.reply


def fake_model(name: str, *deployments: str, **changes: Any) -> Model:
    """A model with deployments given as ``upstream/model`` (default: one, at ``fake``)."""
    places = [place.split("/", 1) for place in deployments or (f"fake/{name}",)]
    had_at = tuple(Deployment(upstream=upstream, provider=upstream, model=model) for upstream, model in places)
    return replace(Model(name=name, deployments=had_at), **changes)


def fake_ports(*models: Model, **changes: Any) -> Ports:
    """Ports of fakes: routes to ``models`` (default: gpt-4o, gpt-4o-mini), a sleep that takes no time, random = 0.5."""
    known = models or (fake_model("gpt-4o"), fake_model("gpt-4o-mini"))
    ports = Ports(
        journal=NullJournal(),
        routes=FakeRoutes(*known),
        sleep=Slept(),
        random=lambda: 0.5,
        policy_version="test",
        price_version="test",
    )
    return replace(ports, **changes)


def fake_call(model: str = "gpt-4o", body: Mapping[str, Any] | None = None, **changes: Any) -> Call:
    """A chat call of user ``u1`` with a Collected reply; ``changes`` are any other fields of Call."""
    asked: Mapping[str, Any] = (
        body if body is not None else {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    )
    now = time.monotonic()
    call = Call(
        id="00000000-0000-7000-8000-000000000001",
        principal=Principal(key_id="k1", role=Role.USER, namespace="default", user="u1"),
        payer=Account("default", "u1"),
        operation=Operation.CHAT,
        action="ai_message",
        model=model,
        requested_model=model,
        body=asked,
        deadline_at=now + 600,
        reply=Collected(),
        ports=changes.pop("ports", None) or fake_ports(),
        trace=Trace(received_at=now),
        stream=bool(asked.get("stream", False)),
    )
    return replace(call, **changes)
