"""Whether providers can be asked: a key, an address that answers, a certificate; nothing is sent."""

from __future__ import annotations

import asyncio
import socket

import pytest
from pydantic import SecretStr

from proxy.cli import reach
from proxy.cli.findings import Finding, Level
from proxy.config.settings import UpstreamSettings


def upstream(base_url: str | None, key: str | None = "sk-canary", via: str = "passthrough") -> UpstreamSettings:
    secret = None if key is None else SecretStr(key)
    return UpstreamSettings.model_validate({"base_url": base_url, "api_key": secret, "via": via, "connect_s": 0.5})


async def look(base_url: str | None, **more: str) -> Finding:
    (found,) = await reach.reachable({"near": upstream(base_url, **more), "mock": upstream(None, via="mock")})
    return found


class Heard:
    """A server that notes what it is sent."""

    def __init__(self) -> None:
        self.bytes = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.bytes += await reader.read()
        writer.close()


async def test_an_address_that_answers_is_fine_and_is_sent_nothing() -> None:
    heard = Heard()
    async with await asyncio.start_server(heard, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await look(f"http://127.0.0.1:{port}/v1")
    assert (found.level, found.says) == (Level.OK, f"127.0.0.1:{port} answers")
    assert heard.bytes == b""


async def test_an_address_where_nobody_listens_fails() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        found = await look(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
    assert found.level is Level.FAIL
    assert "cannot be reached" in found.says


async def test_an_address_that_takes_no_connection_in_time_fails() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        found = await look(f"http://127.0.0.1:{address[1]}/v1")
        for one in waiting:
            one.close()
    assert found.level is Level.FAIL
    assert "does not answer" in found.says


async def test_a_server_that_does_not_speak_tls_fails() -> None:
    async with await asyncio.start_server(Heard(), "127.0.0.1", 0) as server:
        found = await look(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert found.level is Level.FAIL


async def test_a_provider_at_an_address_of_its_own_is_not_looked_at() -> None:
    found = await look(None, via="litellm")
    assert found.level is Level.OK
    assert "not looked at" in found.says


@pytest.mark.parametrize(
    ("settings", "level", "says"),
    [
        (upstream("http://x/v1"), Level.OK, "is there"),
        (upstream("http://x/v1", key=None), Level.OK, "none is sent to http://x/v1"),
        (upstream(None, key=None, via="litellm"), Level.WARN, "none is configured"),
    ],
)
def test_keys_are_looked_for_and_never_shown(settings: UpstreamSettings, level: Level, says: str) -> None:
    (found,) = reach.keys({"one": settings, "mock": upstream(None, via="mock")})
    assert found.level is level
    assert says in found.says
    assert "canary" not in str(found)


def test_where_only_the_mock_answers_it_is_said() -> None:
    (found,) = reach.keys({"mock": upstream(None, via="mock")})
    assert found.level is Level.WARN
    assert "OPENAI_API_KEY" in found.mend
