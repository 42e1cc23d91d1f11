"""Who listens on a port of this machine, read from /proc as far as it may be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
COMMAND_CHARS_MAX = 80


def listener(port: int, *, proc: Path = PROC) -> str | None:
    """``process 4711 (python -m proxy serve)``; None: nobody, or a process of another user, or no /proc here."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    if not sockets:
        return None
    for folder in proc.glob("[0-9]*"):
        if sockets.intersection(_open_in(folder)):
            return f"process {folder.name} ({_command(folder)})"
    return None


def _inodes(port: int, proc: Path) -> Iterator[str]:
    """The inodes of listening TCP sockets on the port; see proc(5), /proc/net/tcp."""
    for fields in (line.split() for name in ("tcp", "tcp6") for line in _lines(proc / "net" / name)):
        if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _lines(table: Path) -> list[str]:
    with suppress(OSError):
        return table.read_text().splitlines()[1:]
    return []


def _open_in(folder: Path) -> Iterator[str]:
    with suppress(OSError):  # it is gone, or another user's
        for handle in (folder / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(handle)


def _command(folder: Path) -> str:
    """Its program and first words, up to an option that may hold a secret."""
    with suppress(OSError):
        program, *words = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
        plain = takewhile(lambda word: "=" not in word and not word.startswith("--"), words)
        return " ".join([Path(program).name, *plain])[:COMMAND_CHARS_MAX]
    return "unknown"
