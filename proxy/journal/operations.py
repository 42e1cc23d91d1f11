"""What an operator does to a ledger as a whole: rotates keys, erases users, prunes, backs up, asks for its state and for a reload.

The values here are what is asked and answered, over the control socket too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from proxy.call import Account, Role
from proxy.errors import BadRequest
from proxy.journal import upkeep
from proxy.journal.backup import back_up
from proxy.journal.listing import Totals
from proxy.journal.lock import Holder
from proxy.journal.port import Erased, KeyRow, Store
from proxy.journal.status import status
from proxy.keys import DEFAULT_NAMESPACE, NAME_CHARS_MAX, Keyring, Namespace, User

GRACE_S_MAX = 90 * 86_400
PATH_CHARS_MAX = 4096


class Operation(BaseModel):
    """Base of what is asked and answered: unknown fields are refused, nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyFacts(Operation):
    """What may be shown of a key: everything but its secret. Times are Unix milliseconds."""

    id: str
    role: Role
    namespace: str
    user: str | None
    workspace: str | None
    operations: tuple[str, ...] | None
    models: tuple[str, ...] | None
    actions: tuple[str, ...] | None
    name: str | None
    created_at: int
    revoked_at: int | None
    expires_at: int | None


class CreatedKey(Operation):
    """A new key. ``key`` is the whole text, shown this once."""

    key: str
    facts: KeyFacts


class RotateKey(Operation):
    """Put a fresh key of the same rights in this one's place, which is good for ``grace_s`` seconds more."""

    key_id: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    grace_s: int = Field(0, ge=0, le=GRACE_S_MAX)


class EraseUser(Operation):
    """Take a user's name out of everything; its points and entries stay, under a pseudonym."""

    user: User
    namespace: Namespace = DEFAULT_NAMESPACE


class ErasedUser(Operation):
    """``pseudonym`` None: there was nothing of that name. ``keys`` were revoked, ``calls`` lost the name.

    ``clean`` False: somebody still reads the ledger as it was, so its log is emptied later; nothing else needs to be done.
    """

    pseudonym: str | None
    keys: tuple[str, ...]
    calls: int
    clean: bool


class PruneRecords(Operation):
    """Delete the calls that ended before this time (Unix ms), and the counts of refusals made before it."""

    before_ms: int = Field(ge=0)


class PrunedRecords(Operation):
    calls: int
    counts: int


class MakeBackup(Operation):
    """Copy the ledger to a file that does not exist yet; an absolute path on the machine of the proxy."""

    to: str = Field(min_length=1, max_length=PATH_CHARS_MAX)


class BackupMade(Operation):
    """A whole and verified copy. Sizes in bytes; ``log_bytes`` is what of the ledger was still in its log."""

    to: str
    size_bytes: int
    ledger_bytes: int
    log_bytes: int


class ReadStatus(Operation):
    """Nothing to ask."""


class LedgerStatus(Operation):
    """The state of a ledger's files; see ``status.Status``."""

    path: str
    schema_version: str | None
    own_schema_version: str
    size_bytes: int
    log_bytes: int
    totals: Totals | None
    holder: Holder | None


class AskReload(Operation):
    """Nothing to ask."""


class Reloaded(Operation):
    """``problems``: why the configuration was refused; none: it is live. ``notes``: what waits for a restart.

    ``policy_version`` is the one that is live now.
    """

    policy_version: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Reload = Callable[[], Awaitable[Reloaded]]


class Operator(Protocol):
    """What an operator can do to a ledger as a whole."""

    async def rotate_key(self, asked: RotateKey) -> CreatedKey: ...

    async def erase_user(self, asked: EraseUser) -> ErasedUser: ...

    async def prune(self, asked: PruneRecords) -> PrunedRecords: ...

    async def backup(self, asked: MakeBackup) -> BackupMade: ...

    async def db_status(self, asked: ReadStatus) -> LedgerStatus: ...

    async def reload(self, asked: AskReload) -> Reloaded: ...


class DirectOperator:
    """The operations on a store of this process; ``database`` is its file, ``reload`` reads the configuration anew."""

    def __init__(
        self, store: Store, keyring: Keyring, *, database: Path | None = None, reload: Reload | None = None
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._database = database
        self._reload = reload

    async def rotate_key(self, asked: RotateKey) -> CreatedKey:
        row, shown_once = await self._keyring.rotate(asked.key_id, grace_ms=asked.grace_s * 1000)
        return CreatedKey(key=shown_once, facts=key_facts(row))

    async def erase_user(self, asked: EraseUser) -> ErasedUser:
        """The account first, in one step; then its calls, which the upkeep finishes if this is cut short."""
        account = Account(asked.namespace, asked.user).id
        erasing = self._store.erase_user(account, f"erased-{secrets.token_hex(6)}")
        erasing.add_done_callback(self._forget_if_erased)
        erased = await asyncio.shield(erasing)
        self._forget(erased.keys)
        calls = await upkeep.finish_erasing(self._store)
        clean = await self._store.scrub()
        return ErasedUser(pseudonym=erased.pseudonym, keys=erased.keys, calls=calls, clean=clean)

    def _forget_if_erased(self, erasing: asyncio.Future[Erased]) -> None:
        if not erasing.cancelled() and erasing.exception() is None:
            self._forget(erasing.result().keys)

    def _forget(self, keys: tuple[str, ...]) -> None:
        for key_id in keys:
            self._keyring.forget(key_id)

    async def prune(self, asked: PruneRecords) -> PrunedRecords:
        total = await upkeep.prune(self._store, asked.before_ms)
        return PrunedRecords(calls=total.calls, counts=total.counts)

    async def backup(self, asked: MakeBackup) -> BackupMade:
        copied = await back_up(self._file(), Path(asked.to))
        return BackupMade(**(asdict(copied) | {"to": str(copied.to)}))

    async def db_status(self, asked: ReadStatus) -> LedgerStatus:
        found = await status(self._file())
        return LedgerStatus(
            path=str(found.path),
            schema_version=found.schema,
            own_schema_version=found.own_schema,
            size_bytes=found.size_bytes,
            log_bytes=found.log_bytes,
            totals=found.totals,
            holder=found.holder,
        )

    async def reload(self, asked: AskReload) -> Reloaded:
        if self._reload is None:
            raise BadRequest(
                "no proxy runs on this ledger, so there is nothing to reload; a start reads the files anyway"
            )
        return await self._reload()

    def _file(self) -> Path:
        if self._database is None:
            raise BadRequest("this ledger is in memory: it has no file")
        return self._database


def key_facts(row: KeyRow) -> KeyFacts:
    return KeyFacts(
        id=row.id,
        role=row.role,
        namespace=row.namespace,
        user=row.user,
        workspace=row.workspace,
        operations=row.operations,
        models=row.models,
        actions=row.actions,
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
    )
