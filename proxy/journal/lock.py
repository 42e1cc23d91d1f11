"""The lock beside a SQLite file: one process writes it, and the lock names that process and its control socket.

The flock decides who holds it, never the content: what a killed process left behind is harmless. The file is never
unlinked, or two processes could hold the locks of two files of the same name.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from proxy.errors import JournalUnavailable

SOCKET_PATH_BYTES_MAX = 100  # the kernel takes 107
CONTENT_BYTES = 2048
WAIT_S = 0.5
POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lock. ``socket`` is the path of its control socket; None: a short command that serves none."""

    pid: int
    socket: str | None
    owner: str


class StoreLocked(JournalUnavailable):
    """Another process writes this store. ``holder`` is None while that process is just starting."""

    reason = "store_locked"

    def __init__(self, database: Path, holder: Holder | None) -> None:
        who = "another process" if holder is None else f"process {holder.pid} ({holder.owner})"
        super().__init__(f"{database} is in use by {who}; stop it, or name another store in config.yaml")
        self.holder = holder


def lock_path(database: Path) -> Path:
    """``<db>.lock``, beside the file that every name of the database leads to."""
    real = database.resolve()
    return real.with_name(real.name + ".lock")


def socket_path(database: Path) -> Path:
    """Where the control socket of a database goes: beside it, or in a private temporary directory when that path is too long.

    Raises JournalUnavailable when somebody else owns that directory.
    """
    real = database.resolve()
    beside = real.with_name(real.name + ".sock")
    if len(os.fsencode(beside)) <= SOCKET_PATH_BYTES_MAX:
        return beside
    return _private_directory() / (sha256(os.fsencode(real)).hexdigest()[:16] + ".sock")


@contextmanager
def locked(database: Path, *, socket: Path | None, owner: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the database's lock and say so in it. Raises StoreLocked after ``wait_s``, JournalUnavailable when it cannot be made.

    The descriptor is closed in children on exec, so no child keeps the lock alive.
    """
    handle = _open(database)
    try:
        _acquire(handle, database, wait_s)
        _say(handle, database, Holder(pid=os.getpid(), socket=None if socket is None else str(socket), owner=owner))
        yield
    finally:
        os.close(handle)  # lets go of the lock, if it was held


def holder(database: Path) -> Holder | None:
    """Who holds the lock now; None when nobody does (whatever the file says), or when the holder has not said yet."""
    try:
        handle = os.open(lock_path(database), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _said(handle)
    finally:
        os.close(handle)


def _private_directory() -> Path:
    own = tempfile.gettempdir()
    directory = Path(own if len(os.fsencode(own)) <= SOCKET_PATH_BYTES_MAX // 2 else "/tmp") / f"orch-{os.geteuid()}"  # noqa: S108
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise JournalUnavailable(f"{directory} is not a private directory (0700) of this user; remove it or set TMPDIR")
    return directory


def _open(database: Path) -> int:
    path = lock_path(database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalUnavailable(_unreachable(path, error)) from error


def _unreachable(path: Path, error: OSError) -> str:
    blocking = next((above for above in path.parents if above.exists() and not above.is_dir()), None)
    if blocking is not None:
        return f"{blocking} is a file where the store needs a directory; move it, or name another store in config.yaml"
    return f"{path}: cannot be opened ({error.strerror}); check that the directory exists and is writable"


def _acquire(handle: int, database: Path, wait_s: float) -> None:
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise StoreLocked(database, _said(handle)) from None
        time.sleep(POLL_S)


def _say(handle: int, database: Path, who: Holder) -> None:
    """Raises JournalUnavailable when it cannot be written: then the store could not be either."""
    text = json.dumps({"pid": who.pid, "socket": who.socket, "owner": who.owner}).encode()
    # One write of a fixed length over the old content: a reader sees the old text or the new, never an empty file.
    try:
        os.pwrite(handle, text.ljust(CONTENT_BYTES), 0)
        os.ftruncate(handle, max(CONTENT_BYTES, len(text)))
    except OSError as error:
        path = lock_path(database)
        raise JournalUnavailable(f"{path}: cannot be written ({error.strerror}); make room on its disk") from error


def _said(handle: int) -> Holder | None:
    try:
        content = json.loads(os.pread(handle, 2 * CONTENT_BYTES, 0))
        socket = content["socket"]
        return Holder(
            pid=int(content["pid"]), socket=None if socket is None else str(socket), owner=str(content["owner"])
        )
    except (ValueError, KeyError, TypeError):
        return None
