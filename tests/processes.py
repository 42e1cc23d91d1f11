"""The proxy as child processes, run as an operator runs it: what they say is read line by line, every one is reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.call import Role
from proxy.journal.admin import CreateUser
from proxy.journal.lock import socket_path
from proxy.journal.port import Violation
from proxy.journal.remote import RemoteAdmin
from proxy.journal.sqlite import read_only
from proxy.keys import NewKey
from proxy.tasks import beside

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 30
"""The bound of every wait, far beyond what any takes; reaching it is a failure."""

POLL_S = 0.01
LINE_BYTES_MAX = 1024 * 1024


class Lines:
    """What a process says on one of its pipes, kept as it comes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ended = False
        self._news = asyncio.Condition()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def follow(self, pipe: asyncio.StreamReader) -> None:
        while raw := await pipe.readline():
            await self._add(raw.decode().rstrip("\n"))
        await self._end()

    async def said(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait for a line, after the first ``since``, in which the pattern is found. Fails when none comes."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.lines[since:])), None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S), self._news:
                await self._news.wait_for(lambda: found() is not None or self._ended)
        match = found()
        assert match is not None, f"{pattern!r} was not said:\n{self.text}"
        return match

    async def ended(self) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._ended)

    async def _add(self, line: str) -> None:
        async with self._news:
            self.lines.append(line)
            self._news.notify_all()

    async def _end(self) -> None:
        async with self._news:
            self._ended = True
            self._news.notify_all()


@dataclass(frozen=True, slots=True)
class Child:
    """A running command of the proxy's, and what it has said so far."""

    process: asyncio.subprocess.Process
    out: Lines
    err: Lines

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it is reaped and all it said is here."""
        async with asyncio.timeout(WAIT_S):
            code = await self.process.wait()
            await self.out.ended()
            await self.err.ended()
        return code

    async def kill(self) -> None:
        """``kill -9``, and reap."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.ended()


@asynccontextmanager
async def started(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """``python -m proxy <arguments>`` with no variables but ``environ``; killed if it still runs when the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy", *arguments),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    child = Child(process, Lines(), Lines())
    async with beside() as tasks:
        tasks.start(child.out.follow(process.stdout))
        tasks.start(child.err.follow(process.stderr))
        try:
            yield child
        finally:
            await child.kill()


async def ran(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """A command's exit code and what it said on its two pipes."""
    async with started(*arguments, cwd=cwd, environ=environ) as child:
        code = await child.ended()
    return code, child.out.text, child.err.text


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy that listens."""

    child: Child
    root_url: str
    database: Path

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    @property
    def port(self) -> int:
        return int(self.root_url.rpartition(":")[2])

    async def user_key(self, user: str, *, energy: int) -> str:
        """A key of a new user with that many points, made as ``orch keys create`` makes it: through the control socket."""
        admin = RemoteAdmin(socket_path(self.database))
        await admin.create_user(CreateUser(user=user, plan="free", points=energy))
        return (await admin.create_key(NewKey(role=Role.USER, user=user))).key


@asynccontextmanager
async def serving(
    directory: Path, *arguments: str, environ: Mapping[str, str] | None = None, database: str = "orch.db"
) -> AsyncIterator[Served]:
    """``orch serve`` in the directory, at a free port of its own choice, once it listens; ``database`` is where its store is."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    async with started("serve", *listen, *arguments, cwd=directory, environ=environ) as child:
        try:
            said = await child.out.said(r"on (http://\S+)/v1 ")
        except AssertionError as error:
            raise AssertionError(f"the proxy did not start: {child.err.text}") from error
        yield Served(child, said[1], directory / database)


def free_port() -> int:
    """A port that nobody has just now, for who cannot choose one by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Write each text to its relative path, whole or not at all, as editors do."""
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}~")
        draft.write_text(text)
        draft.replace(file)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nobody tells us of. Fails after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(POLL_S)


# --- the books, as they lie on disk -----------------------------------------------------------------------------------


def query(database: Path, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of a ledger, whoever writes it."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, values)]


def rows(database: Path) -> dict[str, dict[str, Any]]:
    """The calls by their id."""
    return {row["id"]: row for row in query(database, "SELECT * FROM calls")}


async def closed(database: Path, call_id: str) -> dict[str, Any]:
    """The row of a call, once it is closed."""
    await until(lambda: rows(database).get(call_id, {"state": "open"})["state"] != "open")
    return rows(database)[call_id]


async def broken(database: Path) -> list[Violation]:
    """What ``orch ledger verify`` finds."""
    async with read_only(database) as reader:
        return list(await reader.verify())
