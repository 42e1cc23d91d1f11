"""The client's end of the control socket: the operations on the store of a running proxy, one JSON line out, one JSON line in."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from proxy.errors import BadRequest, JournalUnavailable, OrchError
from proxy.journal.admin import (
    CreatedKey,
    CreateUser,
    GivePoints,
    KeyList,
    ListKeys,
    ReadBalance,
    Revoked,
    RevokeKey,
    UserBalance,
)
from proxy.journal.operations import (
    AskReload,
    BackupMade,
    ErasedUser,
    EraseUser,
    LedgerStatus,
    MakeBackup,
    PrunedRecords,
    PruneRecords,
    ReadStatus,
    Reloaded,
    RotateKey,
)
from proxy.keys import NewKey

ANSWER_BYTES_MAX = 16 * 1024 * 1024
REQUEST_S = 5.0
OPERATION_S = 30.0
LONG_OPERATION_S = 3600.0
LONG = frozenset({"backup", "erase_user", "prune"})
"""Operations that take as long as there is much."""

ANSWER_MORE_S = 5.0
"""How much longer than the operation the answer is waited for."""

RETRY_S = 0.05

_Result = TypeVar("_Result", bound=BaseModel)


def longest_s(method: str) -> float:
    """How long an operation may take."""
    return LONG_OPERATION_S if method in LONG else OPERATION_S


async def read_line(connection: socket.socket, bytes_max: int) -> bytes:
    """Read up to the first newline (exclusive); b"" when the peer left before."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while (end := received.find(b"\n")) < 0:
        if len(received) > bytes_max:
            raise BadRequest(f"a line has to be shorter than {bytes_max} bytes")
        part = await loop.sock_recv(connection, 65536)
        if not part:
            return b""
        received += part
    return bytes(received[:end])


def packed(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


class RemoteAdmin:
    """The operations on the store of a running proxy, through its control socket: one connection each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def create_user(self, asked: CreateUser) -> UserBalance:
        return await self._ask("create_user", asked, UserBalance)

    async def grant(self, asked: GivePoints) -> UserBalance:
        return await self._ask("grant", asked, UserBalance)

    async def balance(self, asked: ReadBalance) -> UserBalance:
        return await self._ask("balance", asked, UserBalance)

    async def create_key(self, asked: NewKey) -> CreatedKey:
        return await self._ask("create_key", asked, CreatedKey)

    async def revoke_key(self, asked: RevokeKey) -> Revoked:
        return await self._ask("revoke_key", asked, Revoked)

    async def list_keys(self, asked: ListKeys) -> KeyList:
        return await self._ask("list_keys", asked, KeyList)

    async def rotate_key(self, asked: RotateKey) -> CreatedKey:
        return await self._ask("rotate_key", asked, CreatedKey)

    async def erase_user(self, asked: EraseUser) -> ErasedUser:
        return await self._ask("erase_user", asked, ErasedUser)

    async def prune(self, asked: PruneRecords) -> PrunedRecords:
        return await self._ask("prune", asked, PrunedRecords)

    async def backup(self, asked: MakeBackup) -> BackupMade:
        return await self._ask("backup", asked, BackupMade)

    async def db_status(self, asked: ReadStatus) -> LedgerStatus:
        return await self._ask("db_status", asked, LedgerStatus)

    async def reload(self, asked: AskReload) -> Reloaded:
        return await self._ask("reload", asked, Reloaded)

    async def reachable(self) -> bool:
        """Whether somebody serves the socket now."""
        with suppress(JournalUnavailable):
            async with _connected(self._path):
                return True
        return False

    async def _ask(self, method: str, asked: BaseModel, answer: type[_Result]) -> _Result:
        request = packed({"method": method, "arguments": asked.model_dump(mode="json")})
        async with _connected(self._path) as connection:
            try:
                async with asyncio.timeout(longest_s(method) + ANSWER_MORE_S):
                    await asyncio.get_running_loop().sock_sendall(connection, request)
                    line = await read_line(connection, ANSWER_BYTES_MAX)
            except (OSError, TimeoutError) as error:
                raise _no_answer(method) from error
        if not line:
            raise _no_answer(method)
        return answer.model_validate(_result(json.loads(line)))


def _no_answer(method: str) -> JournalUnavailable:
    return JournalUnavailable(
        f"the proxy did not answer; whether {method} was done is not known: "
        "look with `orch users balance` or `orch keys list` before repeating it"
    )


def _result(message: Mapping[str, Any]) -> object:
    error = message.get("error")
    if error is None:
        return message["result"]
    kinds = {"caller": BadRequest, "unavailable": JournalUnavailable}
    raise kinds.get(error["kind"], OrchError)(error["message"], reason=error["reason"])


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[socket.socket]:
    """A connection to the socket. Raises JournalUnavailable when nobody serves it, or all places are taken for REQUEST_S."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            async with asyncio.timeout(REQUEST_S):
                await _connect(connection, str(path))
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(
                f"nobody answers on the control socket {path}; nothing was done, try again"
            ) from error
        yield connection


async def _connect(connection: socket.socket, path: str) -> None:
    while True:
        try:
            # A unix socket connects at once or, its backlog full, says EAGAIN: asyncio would take that for a connection.
            connection.connect(path)
        except BlockingIOError:
            await asyncio.sleep(RETRY_S)
        else:
            return
