"""The control socket: how ``orch`` commands reach the store while a proxy holds it. One JSON line in, one JSON line out.

The socket is private (0600, own uid only). ``admin_for`` gives a command the same ``Admin`` either way: the store opened
here when nobody holds its lock, else the holder's socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from proxy.errors import BadRequest, CallerError, JournalUnavailable, OrchError, Overloaded
from proxy.journal import lock
from proxy.journal.admin import (
    Admin,
    CreateUser,
    GivePoints,
    ListKeys,
    ReadBalance,
    RevokeKey,
    checked,
)
from proxy.journal.operations import AskReload, EraseUser, MakeBackup, PruneRecords, ReadStatus, RotateKey
from proxy.journal.remote import (
    ANSWER_BYTES_MAX,
    REQUEST_S,
    RETRY_S,
    RemoteAdmin,
    longest_s,
    packed,
    read_line,
)
from proxy.keys import NewKey
from proxy.tasks import Beside, beside

CONNECTIONS_MAX = 32
BACKLOG = 64
REQUEST_BYTES_MAX = 1024 * 1024
DRAIN_S = 1.0
HOLDER_WAIT_S = 10.0
ACCEPT_AGAIN_S = 0.5

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(admin: Admin, path: Path) -> AsyncIterator[None]:
    """Serve the admin operations on a private socket at ``path`` while the body runs.

    Hold the database's lock meanwhile, with this path in it. Raises JournalUnavailable when the socket cannot be made.
    """
    listener = _listen(path)
    server = _Server(admin, listener)
    try:
        async with beside() as tasks:
            tasks.start(server.accept(tasks))
            try:
                yield
            finally:
                await server.drain()
    finally:
        listener.close()
        _unlink(path)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    _unlink(path)  # left by a killed process: we hold the lock, so nobody serves it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # before listen(): until then every connection is refused
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise JournalUnavailable(f"{path}: the control socket cannot be made ({error.strerror})") from error
    listener.setblocking(False)
    return listener


class _Server:
    """Accepts up to CONNECTIONS_MAX connections at once; further ones wait in the kernel's backlog."""

    def __init__(self, admin: Admin, listener: socket.socket) -> None:
        self._methods = _methods(admin)
        self._listener = listener
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)
        self._running: set[asyncio.Task[None]] = set()

    async def accept(self, tasks: Beside) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptors left, or the peer left: commands wait, calls go on
                _log.warning("control socket: %s", error)
                self._free.release()
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            task = tasks.start(self._serve(connection))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Give running operations a moment to answer, then cut them."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=DRAIN_S)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            # The peer may leave or stall: its own loss, and never the end of the server.
            with suppress(OSError, TimeoutError):
                connection.setblocking(False)
                answer = await self._answer(connection)
                async with asyncio.timeout(REQUEST_S):
                    await asyncio.get_running_loop().sock_sendall(connection, answer)
        finally:
            connection.close()
            self._free.release()

    async def _answer(self, connection: socket.socket) -> bytes:
        try:
            async with asyncio.timeout(REQUEST_S):
                line = await read_line(connection, REQUEST_BYTES_MAX)
            _check_peer(connection)  # once its line is read: closing before would lose the answer
            result = await self._run(line)
        except OrchError as error:
            return packed({"error": {"reason": error.reason, "message": error.message, "kind": _kind(error)}})
        answer = packed({"result": result})
        if len(answer) > ANSWER_BYTES_MAX:
            message = f"the answer has {len(answer)} bytes, more than {ANSWER_BYTES_MAX}; ask for less, by namespace"
            return packed({"error": {"reason": "answer_too_large", "message": message, "kind": "caller"}})
        return answer

    async def _run(self, line: bytes) -> object:
        method, arguments = _request(line)
        known = self._methods.get(method)
        if known is None:
            raise BadRequest(f"no method {method!r}; there are {', '.join(self._methods)}")
        try:
            async with asyncio.timeout(longest_s(method)):
                return (await known(arguments)).model_dump(mode="json")
        except OrchError:
            raise
        except TimeoutError as error:
            raise JournalUnavailable(f"the store did not answer {method} within {longest_s(method):.0f} s") from error
        except Exception as error:
            _log.exception("control socket: %s failed", method)
            raise OrchError(f"{method} failed inside the proxy ({type(error).__name__}); its log says more") from error


_Method = Callable[[Mapping[str, object]], Awaitable[BaseModel]]


def _methods(admin: Admin) -> Mapping[str, _Method]:
    return {
        "create_user": lambda arguments: admin.create_user(checked(CreateUser, arguments)),
        "grant": lambda arguments: admin.grant(checked(GivePoints, arguments)),
        "balance": lambda arguments: admin.balance(checked(ReadBalance, arguments)),
        "create_key": lambda arguments: admin.create_key(checked(NewKey, arguments)),
        "revoke_key": lambda arguments: admin.revoke_key(checked(RevokeKey, arguments)),
        "rotate_key": lambda arguments: admin.rotate_key(checked(RotateKey, arguments)),
        "erase_user": lambda arguments: admin.erase_user(checked(EraseUser, arguments)),
        "prune": lambda arguments: admin.prune(checked(PruneRecords, arguments)),
        "backup": lambda arguments: admin.backup(checked(MakeBackup, arguments)),
        "db_status": lambda arguments: admin.db_status(checked(ReadStatus, arguments)),
        "reload": lambda arguments: admin.reload(checked(AskReload, arguments)),
        "list_keys": lambda arguments: admin.list_keys(checked(ListKeys, arguments)),
    }


def _check_peer(connection: socket.socket) -> None:
    if not hasattr(socket, "SO_PEERCRED"):
        return  # elsewhere than on Linux the socket's mode alone decides
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid != os.geteuid():
        raise CallerError(f"the proxy runs as user {os.geteuid()}; run this command as that user", reason="wrong_user")


def _request(line: bytes) -> tuple[str, Mapping[str, object]]:
    try:
        request = json.loads(line)
        method, arguments = request["method"], request["arguments"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadRequest('a request is one line {"method": …, "arguments": {…}}') from None
    if not isinstance(method, str) or not isinstance(arguments, dict):
        raise BadRequest("method has to be a string, arguments an object")
    return method, arguments


def _kind(error: OrchError) -> str:
    if isinstance(error, CallerError):
        return "caller"
    return "unavailable" if isinstance(error, JournalUnavailable | Overloaded) else "internal"


@asynccontextmanager
async def admin_for(
    database: Path, direct: Callable[[], AbstractAsyncContextManager[Admin]], *, wait_s: float = HOLDER_WAIT_S
) -> AsyncIterator[Admin]:
    """The admin operations on a database, whoever holds it.

    Nobody: take the lock and enter ``direct()``, which opens the store here. Somebody: speak to the holder's socket, waiting
    up to ``wait_s`` while the holder is just starting or ending. Raises StoreLocked when it still does not answer.
    """
    async with AsyncExitStack() as stack:
        yield await _reach(database, direct, stack, wait_s)


async def _reach(
    database: Path, direct: Callable[[], AbstractAsyncContextManager[Admin]], stack: AsyncExitStack, wait_s: float
) -> Admin:
    give_up_at = asyncio.get_running_loop().time() + wait_s
    while True:
        taken = _take(database, stack)
        if taken is None:
            return await stack.enter_async_context(direct())
        if taken.holder is not None and taken.holder.socket is not None:
            remote = RemoteAdmin(Path(taken.holder.socket))
            if await remote.reachable():
                return remote
        if asyncio.get_running_loop().time() >= give_up_at:
            raise taken
        await asyncio.sleep(RETRY_S)


def _take(database: Path, stack: AsyncExitStack) -> lock.StoreLocked | None:
    """Hold the lock until the stack unwinds (None), or say who holds it."""
    try:
        stack.enter_context(lock.locked(database, socket=None, owner="orch", wait_s=0))
    except lock.StoreLocked as taken:
        return taken
    return None
