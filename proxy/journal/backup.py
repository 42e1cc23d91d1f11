"""Backup: a copy of a ledger in one file, made from one snapshot while calls go on, verified before it has its name."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import BadRequest, JournalUnavailable, OrchError
from proxy.journal.reader import SqliteReader
from proxy.journal.upgrade import check_schema

STEP_PAGES = 1024
"""Pages copied at a time: 4 MiB. In between it can be stopped, and progress is told."""

Progress = Callable[[int, int], None]
"""Told of pages copied and of all pages, on the copying thread."""


class BackupFailed(OrchError):
    """The copy was not made, or what was copied is not in order; there is no file of its name."""

    reason = "backup_failed"


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy: where it is, its bytes, and the bytes of the ledger and its log when it was made."""

    to: Path
    size_bytes: int
    ledger_bytes: int
    log_bytes: int


def untold(copied: int, pages: int) -> None:
    """The progress that nobody is told of."""


async def back_up(ledger: Path, to: Path, *, progress: Progress = untold) -> Copied:
    """Copy the ledger to a file that must not exist, on a thread of its own; calls go on meanwhile.

    The copy is synced and verified, then gets its name. One that was stopped half way has none. Raises BadRequest,
    BackupFailed, and what reading a ledger raises.
    """
    check_schema(ledger)
    draft = _draft(to)
    stop = threading.Event()
    copying = asyncio.get_running_loop().run_in_executor(None, _copy, ledger, draft, progress, stop)
    try:
        await asyncio.shield(copying)
        await _verify(draft)
        return await asyncio.to_thread(_finish, ledger, draft, to)
    except asyncio.CancelledError:
        stop.set()
        with suppress(OrchError):
            await asyncio.shield(copying)  # a step at most
        raise
    finally:
        _remove(draft)


def _draft(to: Path) -> Path:
    """A private file beside the target, for a name can be given within one file system only."""
    if not to.is_absolute():
        raise BadRequest(f"{to} has to be an absolute path: the proxy may run in another directory", param="to")
    if to.exists() or to.is_symlink():
        raise BadRequest(f"{to} exists; a backup never replaces a file, name another", param="to")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent)
    except OSError as error:
        raise BadRequest(f"{to.parent} cannot be written to: {error.strerror}", param="to") from error
    os.close(handle)
    return Path(name)


def _copy(ledger: Path, draft: Path, progress: Progress, stop: threading.Event) -> None:
    def told(status: int, remaining: int, pages: int) -> None:
        progress(pages - remaining, pages)
        if stop.is_set():
            raise BackupFailed("the backup was stopped")

    try:
        with (
            closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(draft, isolation_level=None)) as target,
        ):
            # A snapshot held open: else every commit in between would make the copy begin anew.
            source.execute("BEGIN")
            source.execute("SELECT version_num FROM alembic_version").fetchone()
            source.backup(target, pages=STEP_PAGES, progress=told)
            target.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, whole by itself
        _sync(draft)
    except (sqlite3.Error, OSError) as error:
        raise BackupFailed(f"{ledger} was not copied: {error}") from error


async def _verify(draft: Path) -> None:
    damage = await asyncio.to_thread(_damage, draft)
    if damage != "ok":
        raise BackupFailed(f"the copy is damaged, and so may be the ledger: {damage}")
    async with SqliteReader(draft) as reader:
        try:
            broken = await reader.verify()
        except JournalUnavailable as error:
            raise BackupFailed(f"the copy cannot be read: {error.message}") from error
    if broken:
        raise BackupFailed(
            f"the books of the ledger are not in order ({broken[0].invariant}: {broken[0].detail}); see `orch ledger verify`"
        )


def _damage(draft: Path) -> str:
    with closing(sqlite3.connect(f"{draft.as_uri()}?mode=ro", uri=True)) as connection:
        return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def _finish(ledger: Path, draft: Path, to: Path) -> Copied:
    """Give the copy its name, unless somebody took it meanwhile."""
    try:
        os.link(draft, to)
        _sync(to.parent)
        log = ledger.with_name(ledger.name + "-wal")
        log_bytes = log.stat().st_size if log.exists() else 0
        return Copied(to, to.stat().st_size, ledger.stat().st_size, log_bytes)
    except FileExistsError:
        raise BadRequest(f"{to} exists; a backup never replaces a file, name another", param="to") from None
    except OSError as error:
        raise BackupFailed(f"{to} cannot be made: {error.strerror}") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(draft: Path) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        draft.with_name(draft.name + end).unlink(missing_ok=True)
