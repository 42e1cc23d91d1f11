"""The process around the proxy: the port it claims, and where it refuses to be reachable."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import httpx
import pytest

from proxy.call import Role
from proxy.server import StartError, check_apart, check_exposure, claim
from proxy.testing import ScriptedUpstream
from proxy.testing.running import running
from tests.story.conftest import FILES, config


def test_a_port_that_is_taken_says_so_and_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(StartError, match=rf"cannot listen on {address}.*server.listen"):
            claim(address)


def test_an_address_of_another_machine_cannot_be_claimed() -> None:
    with pytest.raises(StartError, match="cannot listen"):
        claim("192.0.2.1:4000")


@pytest.mark.parametrize("wrong", ["foo", "127.0.0.1", ":4000", "127.0.0.1:http"])
def test_an_address_that_is_none_says_what_one_looks_like(wrong: str) -> None:
    with pytest.raises(StartError, match="port"):
        claim(wrong)


@pytest.mark.parametrize(
    ("calls", "operators", "apart"),
    [
        ("127.0.0.1:4000", "127.0.0.1:4001", True),
        ("127.0.0.1:0", "127.0.0.1:0", True),
        ("127.0.0.1:4000", "127.0.0.2:4000", True),
        ("127.0.0.1:4000", "127.0.0.1:4000", False),
        ("0.0.0.0:4000", "127.0.0.1:4000", False),
        ("127.0.0.1:4000", "[::]:4000", False),
        ("localhost:4000", "localhost:4000", False),
    ],
)
def test_two_listeners_are_at_two_places(calls: str, operators: str, apart: bool) -> None:
    with contextlib.nullcontext() if apart else pytest.raises(StartError, match="both at port 4000"):
        check_apart({"server.listen": calls, "admin.listen": operators})


async def test_an_address_open_to_others_needs_an_admin_key(tmp_path: Path, store: Path) -> None:
    async with ScriptedUpstream() as upstream, running(tmp_path, config=config(upstream), files=FILES) as proxy:
        await check_exposure(proxy.parts, "127.0.0.1:4000", {})
        await check_exposure(proxy.parts, "0.0.0.0:4000", {"ORCH_ADMIN_KEY": "a-long-secret"})
        with pytest.raises(StartError, match="no admin key"):
            await check_exposure(proxy.parts, "0.0.0.0:4000", {})

        admin = await proxy.key(role=Role.ADMIN)
        await check_exposure(proxy.parts, "0.0.0.0:4000", {})

        await proxy.parts.keyring.revoke(admin.removeprefix("sk-orch-").partition("_")[0])
        with pytest.raises(StartError, match="no admin key"):
            await check_exposure(proxy.parts, "[::]:4000", {})


async def test_a_test_that_fails_inside_a_running_proxy_ends_it_in_order(tmp_path: Path, store: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with (
            ScriptedUpstream() as upstream,
            running(tmp_path, config=config(upstream, "admin: {listen: '127.0.0.1:0'}"), files=FILES) as proxy,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            for root_url in (proxy.root_url, proxy.operators_url):
                assert (await client.get(f"{root_url}/livez")).status_code == 200
            raise ZeroDivisionError
