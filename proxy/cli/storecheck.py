"""What ``orch doctor`` looks at of the store: its place, room, schema, holder, permissions, latest time."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from proxy.cli import show
from proxy.cli.findings import Finding, broken, doubtful, fine
from proxy.errors import OrchError
from proxy.journal import lock
from proxy.journal.statements import LATEST
from proxy.journal.upgrade import VERSIONS, schema_version
from proxy.keys import PEPPER_CHARS_MIN

ROOM_BYTES_MIN = 64 * 1024 * 1024
ROOM_BYTES_LOW = 1024 * 1024 * 1024
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "glusterfs", "ceph", "lustre", "afs")
"""File systems on which SQLite's locks and its WAL do not work."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def place(database: Path) -> Iterator[Finding]:
    """Whether the store can be where it is named, and whether there is room."""
    folder = next((above for above in database.parents if above.exists()), Path("/"))
    if database.is_dir() or not folder.is_dir():
        wrong = database if database.is_dir() else folder
        what = (
            "a directory where the store is a file" if wrong == database else "a file where the store needs a directory"
        )
        yield broken("store", f"{wrong} is {what}", "move it, or name another store in config.yaml")
        return
    targets = [target for target in (folder, database) if target.exists()]
    blocked = [str(target) for target in targets if not os.access(target, os.W_OK)]
    if blocked:
        yield broken(
            "store", f"{', '.join(blocked)} cannot be written", f"chown it to user {os.geteuid()}, or name another"
        )
    else:
        yield fine("store", str(database) if database.exists() else f"{database} will be made at the first start")
    if (kind := _file_system(folder)) in NETWORK:
        yield broken("file system", f"{folder} is on {kind}: SQLite corrupts there", "put the store on a local disk")
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    says = f"{show.size(free)} free at {folder}"
    if free < ROOM_BYTES_MIN:
        return broken("room", says, "make room: without it every call is refused")
    if free < ROOM_BYTES_LOW:
        return doubtful("room", says, "make room: when it is used up every call is refused")
    return fine("room", says)


def _file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that the folder is on; None where nobody can tell."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    real = folder.resolve()
    under = [(fields[1], fields[2]) for fields in lines if real.is_relative_to(fields[1])]
    return max(under, key=lambda mount: len(mount[0]), default=(None, None))[1]


def books(database: Path) -> Finding:
    """Whether the file is a ledger that this program can open."""
    try:
        version = schema_version(database)
    except OrchError as error:
        return broken(
            "schema", error.message, "see `orch db status`; a backup brings it back: docs/operating.md, Backup"
        )
    except OSError as error:
        return broken("schema", f"{database}: {error.strerror}", f"chown it to user {os.geteuid()}")
    if version is None:
        return fine("schema", f"no ledger yet; the first start makes one of schema {VERSIONS[-1]}")
    if version != VERSIONS[-1]:
        return doubtful(
            "schema",
            f"{version}; this program's is {VERSIONS[-1]}",
            "back it up; the next start or `orch db upgrade` mends it",
        )
    return fine("schema", version)


def held(database: Path) -> Finding:
    """Who writes the store now."""
    try:
        holder = lock.holder(database)
    except OSError as error:
        return broken("lock", f"{lock.lock_path(database)}: {error.strerror}", f"chown it to user {os.geteuid()}")
    if holder is None:
        return fine("lock", "no process writes the store")
    return fine("lock", f"process {holder.pid} ({holder.owner}) writes the store")


def permissions(database: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether others could read the secret behind the keys, or the records."""
    secret, given = database.parent / "secret", environ.get("ORCH_SECRET", "").strip()
    if given and len(given) < PEPPER_CHARS_MIN:
        yield broken(
            "secret", f"ORCH_SECRET has {len(given)} characters", f"set at least {PEPPER_CHARS_MIN} random ones"
        )
    elif given:
        yield fine("secret", "ORCH_SECRET is set")
    elif _open_to_others(secret):
        yield broken("secret", f"{secret} can be read by others", f"chmod 600 {secret}")
    elif secret.exists():
        yield fine("secret", f"{secret} is its owner's only")
    elif database.exists():
        yield doubtful(
            "secret", f"there is none at {secret}", "restore it with the ledger's backup, or no key made before works"
        )
    if _open_to_others(database):
        yield doubtful("records", f"{database} can be read by others", f"chmod 600 {database}*")


def _open_to_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & OTHERS)
    except OSError:
        return False


def latest_ms(database: Path) -> int | None:
    """The latest time in the books, Unix milliseconds; None where there is none to be read."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (latest,) = connection.execute(LATEST).fetchone()
    except sqlite3.Error:
        return None
    return int(latest)
