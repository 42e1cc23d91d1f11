"""The control socket: private, bounded, and the same operations whoever holds the store."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.call import Role
from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal import control, lock
from proxy.journal.admin import CreateUser, DirectAdmin, GivePoints, ListKeys, ReadBalance, RevokeKey, UserBalance
from proxy.journal.control import admin_for, serving
from proxy.journal.memory import MemoryStore
from proxy.journal.remote import RemoteAdmin
from proxy.keys import Keyring, NewKey

ANA = CreateUser(user="ana", plan="free", points=25)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="o") as directory:
        yield Path(directory)


def direct_admin() -> DirectAdmin:
    store = MemoryStore()
    return DirectAdmin(store, Keyring(store, b"pepper"))


@asynccontextmanager
async def proxy_on(database: Path, admin: DirectAdmin) -> AsyncIterator[Path]:
    """What a running proxy does: hold the lock and serve the socket that the lock names."""
    path = lock.socket_path(database)
    with lock.locked(database, socket=path, owner="proxy"):
        async with serving(admin, path):
            yield path


async def raw(path: Path, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


async def test_every_operation_works_through_the_socket(tmp_path: Path) -> None:
    admin = direct_admin()
    async with proxy_on(tmp_path / "orch.db", admin) as path:
        remote = RemoteAdmin(path)
        assert (await remote.create_user(ANA)).available == 25
        assert (await remote.grant(GivePoints(user="ana", points=5, reason="thanks"))).balance == 30
        made = await remote.create_key(NewKey(role=Role.USER, user="ana", actions=("ai_message",)))
        assert made.facts.actions == ("ai_message",)
        await remote.revoke_key(RevokeKey(key_id=made.facts.id))
        (listed,) = (await remote.list_keys(ListKeys(namespace="app"))).keys
        assert listed.revoked_at is not None
        balance = await remote.balance(ReadBalance(user="ana"))
    assert balance == UserBalance(user="ana", namespace="app", plan="free", balance=30, held=0, available=30)


async def test_the_socket_is_private_and_goes_with_its_server(tmp_path: Path) -> None:
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


async def test_a_long_path_moves_the_socket_to_a_private_directory(
    tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    async with proxy_on(deep / "orch.db", direct_admin()) as path:
        assert len(os.fsencode(path)) <= lock.SOCKET_PATH_BYTES_MAX
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        holder = lock.holder(deep / "orch.db")
        assert holder is not None
        assert (await RemoteAdmin(Path(holder.socket or "")).create_user(ANA)).balance == 25
    assert not path.exists()


async def test_a_socket_left_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "orch.db.sock"))
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        assert await RemoteAdmin(path).reachable()


async def test_errors_travel_with_reason_and_message(tmp_path: Path) -> None:
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        with pytest.raises(BadRequest, match="no user 'bob'") as caught:
            await RemoteAdmin(path).balance(ReadBalance(user="bob"))
    assert caught.value.reason == "unknown_user"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\n", "one line"),
        (b"[]\n", "one line"),
        (b"[" * 100_000 + b"\n", "one line"),
        (b'{"method": "drop", "arguments": {}}\n', "create_user"),
        (b'{"method": "grant", "arguments": []}\n', "object"),
        (b'{"method": "grant", "arguments": {"user": "ana", "points": 1.5}}\n', "points"),
        (b"\xff\xfe\n", "one line"),
        (b"x" * (control.REQUEST_BYTES_MAX + 1), "shorter"),
    ],
)
async def test_whatever_is_not_a_request_is_answered_with_what_is(tmp_path: Path, line: bytes, says: str) -> None:
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        answer = await raw(path, line)
        assert says in answer["error"]["message"]
        assert answer["error"]["reason"] == "invalid_request"
        assert await RemoteAdmin(path).reachable()


class Broken(DirectAdmin):
    async def balance(self, asked: ReadBalance) -> UserBalance:
        raise RuntimeError("the text of an unexpected error may hold anything")


async def test_an_unexpected_error_answers_without_its_text_and_serves_on(tmp_path: Path) -> None:
    store = MemoryStore()
    async with proxy_on(tmp_path / "orch.db", Broken(store, Keyring(store, b"pepper"))) as path:
        answer = await raw(path, b'{"method": "balance", "arguments": {"user": "ana"}}\n')
        assert "RuntimeError" in answer["error"]["message"]
        assert "anything" not in answer["error"]["message"]
        assert (await RemoteAdmin(path).create_user(ANA)).balance == 25


async def test_a_peer_that_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_S", 0.05)
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()


async def test_more_peers_than_connections_wait_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(control, "BACKLOG", 2)
    async with proxy_on(tmp_path / "orch.db", direct_admin()) as path:
        remote = RemoteAdmin(path)
        async with asyncio.TaskGroup() as group:
            for name in range(20):
                group.create_task(remote.create_user(CreateUser(user=str(name), plan="free", points=1)))
        assert (await remote.balance(ReadBalance(user="19"))).balance == 1


ASK_AS_NOBODY = """
import os, socket, sys
os.setuid(65534)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
peer.sendall(b'{"method": "list_keys", "arguments": {}}\\n')
print(peer.recv(65536).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused_even_where_the_file_lets_it_in(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "orch.sock"
        async with serving(direct_admin(), path):
            path.chmod(0o666)
            asking = asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", ASK_AS_NOBODY, str(path)], capture_output=True, check=True
            )
            answer = json.loads((await asking).stdout)
    assert answer["error"]["reason"] == "wrong_user"


class Slow(DirectAdmin):
    """An admin whose balance waits for ``gate``."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, Keyring(store, b"pepper"))
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def balance(self, asked: ReadBalance) -> UserBalance:
        self.asked.set()
        await self.gate.wait()
        return UserBalance(user=asked.user, namespace="app", plan="free", balance=1, held=0, available=1)


async def test_an_operation_that_runs_when_the_proxy_ends_still_gets_its_answer(tmp_path: Path) -> None:
    admin = Slow(MemoryStore())
    async with asyncio.TaskGroup() as group, proxy_on(tmp_path / "orch.db", admin) as path:
        asking = group.create_task(RemoteAdmin(path).balance(ReadBalance(user="ana")))
        await admin.asked.wait()
        asyncio.get_running_loop().call_soon(admin.gate.set)
    assert asking.result().balance == 1


async def test_an_operation_cut_by_the_end_says_that_its_outcome_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DRAIN_S", 0.05)
    admin = Slow(MemoryStore())

    async def ask(path: Path) -> str:
        with pytest.raises(JournalUnavailable) as caught:
            await RemoteAdmin(path).balance(ReadBalance(user="ana"))
        return caught.value.message

    async with asyncio.TaskGroup() as group, proxy_on(tmp_path / "orch.db", admin) as path:
        asking = group.create_task(ask(path))
        await admin.asked.wait()
    assert "not known" in asking.result()


async def test_a_command_opens_the_store_itself_when_nobody_holds_it(tmp_path: Path) -> None:
    admin = direct_admin()

    @asynccontextmanager
    async def direct() -> AsyncIterator[DirectAdmin]:
        holder = lock.holder(tmp_path / "orch.db")
        assert holder is not None
        assert holder.pid == os.getpid()
        yield admin

    async with admin_for(tmp_path / "orch.db", direct) as reached:
        assert reached is admin
    assert lock.holder(tmp_path / "orch.db") is None


@asynccontextmanager
async def never() -> AsyncIterator[DirectAdmin]:
    raise AssertionError("the store is held: it must not be opened here")
    yield


async def test_a_command_speaks_to_the_proxy_that_holds_the_store(tmp_path: Path) -> None:
    admin = direct_admin()
    async with proxy_on(tmp_path / "orch.db", admin):
        async with admin_for(tmp_path / "orch.db", never) as reached:
            await reached.create_user(ANA)
        assert (await admin.balance(ReadBalance(user="ana"))).balance == 25


async def test_a_command_waits_for_a_proxy_that_is_starting(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    path = lock.socket_path(database)
    with lock.locked(database, socket=path, owner="proxy"):
        async with asyncio.TaskGroup() as group:
            reaching = group.create_task(balance_of_new_user(database))
            await asyncio.sleep(0)
            async with serving(direct_admin(), path):
                assert await reaching == 25


async def balance_of_new_user(database: Path) -> int:
    async with admin_for(database, never) as admin:
        return (await admin.create_user(ANA)).balance


async def test_a_holder_that_never_answers_is_given_up_on_and_named(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    reaching = admin_for(database, never, wait_s=0.1)
    with (
        lock.locked(database, socket=tmp_path / "nobody.sock", owner="proxy"),
        pytest.raises(lock.StoreLocked) as caught,
    ):
        await reaching.__aenter__()
    assert f"process {os.getpid()} " in caught.value.message


async def test_an_error_of_the_body_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serving(direct_admin(), tmp_path / "s.sock"):
            raise ZeroDivisionError
    assert not (tmp_path / "s.sock").exists()
