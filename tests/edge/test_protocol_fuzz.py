"""Spoiled requests, split anywhere, several on a connection: every one is answered or ended, none is a bug of ours."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import Counter

import pytest

from proxy.config.settings import Limits
from tests.edge.wire import WAIT_S, Listening, echo, request, serving

LIMITS = Limits(head_s=0.2, body_s=0.2, keep_alive_s=0.2, linger_s=0.2)
ROUNDS, AT_ONCE = 6, 50
SEEDS = (
    request(body=b"hello"),
    request("a: b", "c: d", method="GET", path="/a?b"),
    request("transfer-encoding: chunked") + b"3\r\nabc\r\n0\r\na: b\r\n\r\n",
    request("expect: 100-continue", body=b"x"),
    request("connection: upgrade", "upgrade: h2c", body=b"yy"),
    request("connection: close"),
    request(path="http://x/y"),
    b"GET / HTTP/1.0\r\n\r\n",
)


def spoiled(rng: random.Random) -> bytes:
    """One to three requests in a row, with up to three places changed."""
    raw = bytearray(b"".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 3))))
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(raw))
        cut = rng.choice((0, 0, 1, 5))
        raw[at : at + cut] = rng.choice((b"", b"\0", b"\r\n", b" ", rng.randbytes(1), rng.randbytes(3)))
        raw = raw or bytearray(b"\r\n")
    return bytes(raw)


async def statuses(server: Listening, rng: random.Random) -> list[str]:
    """What a connection was answered until the server closed it."""
    raw = spoiled(rng)
    async with server.client() as client:
        with contextlib.suppress(ConnectionError):
            while raw:
                size = rng.randint(1, 80)
                await client.send(raw[:size])
                raw = raw[size:]
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            return re.findall(r"HTTP/1\.1 (\d+) ", (await client.rest()).decode("latin-1"))
    return []


async def test_spoiled_requests_are_answered_or_ended(caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    async with serving(echo, LIMITS) as server:
        for _ in range(ROUNDS):
            mine = [random.Random(rng.random()) for _ in range(AT_ONCE)]
            for found in await asyncio.gather(*(statuses(server, one) for one in mine)):
                seen.update(found)
        async with asyncio.timeout(WAIT_S):
            while server.server.server_state.connections:
                await asyncio.sleep(0.001)
        assert not server.server.server_state.tasks
    assert seen.keys() <= {"100", "200", "400", "405", "408", "417", "431"}, seen
    assert {"200", "400"} <= seen.keys()
    assert not caplog.records
