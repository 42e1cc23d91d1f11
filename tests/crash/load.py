"""Load on a proxy that will be killed: calls of every kind from many users, and what each user knows of its own."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp

from proxy.testing import (
    Exchange,
    Script,
    ScriptedUpstream,
    answer,
    completion,
    delta,
    done,
    end,
    event,
    finish,
    hang,
    head,
    reset,
    role,
)

WORKERS_PER_USER = 2
WAIT_S = 60
ARRIVALS_MAX = 30
QUICK = ("whole", "streamed", "whole", "streamed", "broken")
SLOW = ("slow whole", "slow streamed", "left")
STARTED: Script = [head(), event(role()), event(delta("Hel"))]
ENDED: Script = [event(delta("lo")), event(finish()), done(), end()]


class Load:
    """Makes calls until the proxy is gone; ``over`` says when to kill it.

    ``told`` has every call whose end its user was told (answered, broken, refused), ``cut`` those of which it saw only the
    beginning, ``blind`` how many calls of a user never showed it anything.
    """

    def __init__(self, upstream: ScriptedUpstream, chance: random.Random) -> None:
        self.told: dict[str, str] = {}
        self.cut: set[str] = set()
        self.blind: Counter[str] = Counter()
        self.over = asyncio.Event()
        self._upstream = upstream
        self._chance = chance
        self._events_left = 0
        upstream.always([self._answer])

    def arm(self, events: int) -> None:
        """Set ``over`` again only after so many events more."""
        self._events_left = events
        self.over.clear()

    async def run(self, base_url: str, keys: Mapping[str, str]) -> None:
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with (
            aiohttp.ClientSession(f"{base_url}/", timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for user in keys:
                group.create_task(self._keep_asking(session, user, keys[user], QUICK))
                group.create_task(self._keep_asking(session, user, keys[user], QUICK + SLOW))

    # --- the users ----------------------------------------------------------------------------------------------------

    async def _keep_asking(self, session: aiohttp.ClientSession, user: str, key: str, kinds: tuple[str, ...]) -> None:
        headers = {"authorization": f"Bearer {key}"}
        while True:
            kind = self._chance.choice(kinds)
            body = {
                "model": self._chance.choice(("gpt-4o", "gpt-4o-mini")),
                "messages": [{"role": "user", "content": kind}],
                "stream": kind in ("streamed", "slow streamed", "broken", "left"),
            }
            self.blind[user] += 1
            try:
                async with session.post("chat/completions", json=body, headers=headers) as response:
                    call_id = response.headers["x-request-id"]
                    self.blind[user] -= 1
                    self.cut.add(call_id)
                    await self._read(response, call_id, kind)
            except aiohttp.ClientError:
                if not self.over.is_set():
                    raise
                return

    async def _read(self, response: aiohttp.ClientResponse, call_id: str, kind: str) -> None:
        self._happened()
        if kind == "left" and response.status == 200:
            await response.content.readuntil(b"Hel")
            return response.close()
        said = _end(response.status, await response.read())
        self.cut.remove(call_id)
        self.told[call_id] = said
        return self._happened()

    def _happened(self) -> None:
        self._events_left -= 1
        if self._events_left <= 0:
            self.over.set()

    # --- the provider -------------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> None:
        self._happened()
        body = exchange.request.body
        kind = body["messages"][0]["content"]
        if kind.startswith("slow whole"):
            await self._others()
        for step in _script(kind, body):
            await step(exchange)
        if kind == "slow streamed":
            await self._others()
            for step in ENDED:
                await step(exchange)

    async def _others(self) -> None:
        """Wait until some more calls have come in."""
        await self._upstream.arrived(len(self._upstream.requests) + self._chance.randint(1, ARRIVALS_MAX))


def _script(kind: str, body: Any) -> Script:
    match kind:
        case "whole" | "slow whole":
            return answer(completion(model=body["model"]))
        case "slow streamed":
            return STARTED
        case "broken":
            return [*STARTED, reset()]
        case "left":
            return [*STARTED, hang()]
        case _:
            return [*STARTED, *ENDED]


def _end(status: int, received: bytes) -> str:
    """What a whole response says of its call. Anything else than these is a failure of the proxy's."""
    if status == 429:
        return "refused"
    assert status == 200, (status, received)
    if received.endswith(b"data: [DONE]\n\n") or received.startswith(b"{"):
        return "answered"
    assert b'"code":"upstream_broke"' in received, received
    return "broken"
