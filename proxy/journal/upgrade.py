"""Before a ledger is opened: its file exists, is ours, and has this program's schema."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import proxy
from proxy.errors import OrchError

VERSIONS = ("0001", "0002")
"""The schema's versions, oldest first; the last one is this program's."""

MIGRATE_S = 600.0


class UnusableLedger(OrchError):
    """The file cannot be this program's ledger: of a newer program, of another one, damaged, not readable."""

    reason = "unusable_ledger"


def schema_version(path: Path) -> str | None:
    """Version of the file's schema; None: new or empty. Raises UnusableLedger."""
    if path.is_dir():
        raise UnusableLedger(
            f"{path} is a directory where the store is a file, and cannot be opened; mend `store:` in config.yaml"
        )
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if "alembic_version" not in tables or "entries" not in tables:
                raise UnusableLedger(f"{path} is an SQLite database, but not a ledger of this program")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise UnusableLedger(f"{path} cannot be read as a ledger: {error}") from error
    return _known(path, row[0] if row else None)


def _known(path: Path, version: str | None) -> str:
    if version in VERSIONS:
        return version
    raise UnusableLedger(
        f"{path} has schema {version}, which this program does not know (its own is {VERSIONS[-1]}): "
        "it was last used by a newer version; use that one, or restore a backup"
    )


def check_schema(path: Path) -> None:
    """Raises UnusableLedger unless the file can be read as it is."""
    if schema_version(path) != VERSIONS[-1]:
        raise UnusableLedger(
            f"{path} is no ledger of this program's version yet; the proxy makes it one when it starts"
        )


async def bring_up(path: Path) -> None:
    """Make the file a ledger of this version. The caller holds its lock. Raises UnusableLedger with nothing changed."""
    _undo_half_done(path)
    if schema_version(path) == VERSIONS[-1]:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # who may read the records is nobody's default
    except OSError as error:
        raise UnusableLedger(f"{path} cannot be opened: {error.strerror}") from error
    done = await asyncio.to_thread(_migrate, path)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UnusableLedger(f"{path} cannot be brought to schema {VERSIONS[-1]}: {lines[0]}")


def _undo_half_done(path: Path) -> None:
    """A first migration that was killed left the journal that undoes it; only a connection that may write can use it."""
    if not path.with_name(f"{path.name}-journal").exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as found:
        found.execute(
            "SELECT count(*) FROM sqlite_master"
        )  # what is wrong with the file otherwise is said by who reads it next


def _migrate(path: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, so that this one never loads SQLAlchemy and Alembic."""
    root = str(Path(proxy.__file__).parent.parent)
    return subprocess.run(  # noqa: S603 - our own interpreter, no shell
        [sys.executable, "-P", "-m", "proxy.journal.migrate", str(path.absolute())],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=MIGRATE_S,
        check=False,
    )
