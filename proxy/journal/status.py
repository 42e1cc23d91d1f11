"""What can be said of a ledger's files without opening it for writing: schema, sizes, counts, who holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxy.journal import lock
from proxy.journal.listing import Totals
from proxy.journal.reader import SqliteReader
from proxy.journal.upgrade import VERSIONS, bring_up, schema_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """``schema`` None: there is no ledger yet. ``totals`` only where the schema is this program's. ``holder``: who may write."""

    path: Path
    schema: str | None
    own_schema: str
    size_bytes: int
    log_bytes: int
    totals: Totals | None
    holder: lock.Holder | None


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did; ``before`` None: it made the ledger."""

    before: str | None
    after: str


async def status(path: Path) -> Status:
    """Raises UnusableLedger for a file that is no ledger of this program, JournalUnavailable for one that cannot be read."""
    schema = schema_version(path)
    totals = None
    if schema == VERSIONS[-1]:
        async with SqliteReader(path) as reader:
            totals = await reader.totals()
    return Status(
        path=path,
        schema=schema,
        own_schema=VERSIONS[-1],
        size_bytes=_size(path),
        log_bytes=_size(path.with_name(path.name + "-wal")),
        totals=totals,
        holder=lock.holder(path),
    )


async def upgrade(path: Path) -> Upgraded:
    """Bring the ledger to this program's schema. Raises StoreLocked while a proxy runs on it, UnusableLedger."""
    with lock.locked(path, socket=None, owner="orch db upgrade", wait_s=0):
        before = schema_version(path)
        await bring_up(path)
    return Upgraded(before, VERSIONS[-1])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
