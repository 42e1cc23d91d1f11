"""The admin operations on a ledger: users, grants and keys, the same whether the store is ours or a running proxy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, ValidationError

from proxy.call import Account, Opening
from proxy.errors import BadRequest
from proxy.journal.operations import (
    CreatedKey,
    DirectOperator,
    KeyFacts,
    Operation,
    Operator,
    key_facts,
)
from proxy.journal.port import Balance, Grant, KeyRow, NewUser
from proxy.keys import DEFAULT_NAMESPACE, NAME_CHARS_MAX, Namespace, NewKey, User
from proxy.wording import words

__all__ = [
    "Admin",
    "CreateUser",
    "CreatedKey",
    "DirectAdmin",
    "EnsuredUser",
    "GivePoints",
    "KeyFacts",
    "KeyList",
    "ListKeys",
    "Operation",
    "ReadBalance",
    "RevokeKey",
    "Revoked",
    "UserBalance",
    "checked",
    "read_balance",
    "read_keys",
    "unknown_user",
]

POINTS_MAX = 10**12
TEXT_CHARS_MAX = 500


class CreateUser(Operation):
    """Open an account on a plan with a starting balance."""

    user: User
    namespace: Namespace = DEFAULT_NAMESPACE
    plan: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    points: int = Field(strict=True, ge=0, le=POINTS_MAX)


class GivePoints(Operation):
    """Add points to an account; the same ``source_ref`` counts once."""

    user: User
    namespace: Namespace = DEFAULT_NAMESPACE
    points: int = Field(strict=True, ge=1, le=POINTS_MAX)
    reason: str | None = Field(None, min_length=1, max_length=TEXT_CHARS_MAX)
    source_ref: str | None = Field(None, min_length=1, max_length=NAME_CHARS_MAX)


class ReadBalance(Operation):
    user: User
    namespace: Namespace = DEFAULT_NAMESPACE


class RevokeKey(Operation):
    key_id: str = Field(min_length=1, max_length=NAME_CHARS_MAX)


class ListKeys(Operation):
    namespace: Namespace | None = None


class UserBalance(Operation):
    """An account's points; ``available`` is what can be spent: balance less what running calls hold."""

    user: str
    namespace: str
    plan: str
    balance: int
    held: int
    available: int


class EnsuredUser(Operation):
    """An account that is there now; ``created`` by this."""

    user: UserBalance
    created: bool


class KeyList(Operation):
    keys: tuple[KeyFacts, ...]


class Revoked(Operation):
    key_id: str


class Admin(Operator, Protocol):
    """What an operator can do. Raises BadRequest for what cannot be, JournalUnavailable when the store is not there."""

    async def create_user(self, asked: CreateUser) -> UserBalance: ...

    async def grant(self, asked: GivePoints) -> UserBalance: ...

    async def balance(self, asked: ReadBalance) -> UserBalance: ...

    async def create_key(self, asked: NewKey) -> CreatedKey: ...

    async def revoke_key(self, asked: RevokeKey) -> Revoked: ...

    async def list_keys(self, asked: ListKeys) -> KeyList: ...


class Reader(Protocol):
    """The part of a store that only reads."""

    async def balance(self, account: str) -> Balance | None: ...

    async def keys(self, namespace: str | None = None) -> Sequence[KeyRow]: ...


class DirectAdmin(DirectOperator):
    """The operations on a store of this process."""

    async def create_user(self, asked: CreateUser) -> UserBalance:
        account = Account(asked.namespace, asked.user)
        if await self._store.balance(account.id) is not None:
            raise BadRequest(
                f"user {asked.user!r} exists in namespace {asked.namespace!r}; to add points use `orch users grant`",
                reason="user_exists",
                param="user",
            )
        created = await self._store.create_user(NewUser(account=account.id, opening=Opening(asked.plan, asked.points)))
        return _shown(account, created)

    async def ensure_user(self, asked: CreateUser) -> EnsuredUser:
        """The same asked twice is one account. Raises BadRequest for one that exists with another opening."""
        account = Account(asked.namespace, asked.user)
        before = await self._store.balance(account.id)
        found = await self._store.create_user(NewUser(account=account.id, opening=Opening(asked.plan, asked.points)))
        return EnsuredUser(user=_shown(account, found), created=before is None)

    async def grant(self, asked: GivePoints) -> UserBalance:
        account = Account(asked.namespace, asked.user)
        if await self._store.balance(account.id) is None:
            raise unknown_user(account)
        op = Grant(
            account=account.id, points=asked.points, kind="adjust", reason=asked.reason, source_ref=asked.source_ref
        )
        return _shown(account, await self._store.grant(op))

    async def balance(self, asked: ReadBalance) -> UserBalance:
        return await read_balance(self._store, asked)

    async def create_key(self, asked: NewKey) -> CreatedKey:
        row, shown_once = await self._keyring.create(asked)
        return CreatedKey(key=shown_once, facts=key_facts(row))

    async def revoke_key(self, asked: RevokeKey) -> Revoked:
        if not await self._keyring.revoke(asked.key_id):
            raise BadRequest(
                f"there is no key with the id {asked.key_id!r}; `orch keys list` shows the ids", reason="unknown_key"
            )
        return Revoked(key_id=asked.key_id)

    async def list_keys(self, asked: ListKeys) -> KeyList:
        return await read_keys(self._store, asked)


async def read_balance(reader: Reader, asked: ReadBalance) -> UserBalance:
    """One user's points. Raises BadRequest when there is no such user."""
    account = Account(asked.namespace, asked.user)
    found = await reader.balance(account.id)
    if found is None:
        raise unknown_user(account)
    return _shown(account, found)


async def read_keys(reader: Reader, asked: ListKeys) -> KeyList:
    """All keys, or those of one namespace, revoked ones too."""
    return KeyList(keys=tuple(key_facts(row) for row in await reader.keys(asked.namespace)))


def unknown_user(account: Account) -> BadRequest:
    return BadRequest(
        f"there is no user {account.user!r} in namespace {account.namespace!r}; create it with `orch users create`",
        reason="unknown_user",
        param="user",
    )


_Checked = TypeVar("_Checked", bound=BaseModel)


def checked(model: type[_Checked], arguments: Mapping[str, object]) -> _Checked:
    """The arguments as the operation, or BadRequest naming the first one that is wrong."""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "arguments"
        raise BadRequest(f"{where}: {words(first)}", param=where) from None


def _shown(account: Account, found: Balance) -> UserBalance:
    return UserBalance(
        user=account.user,
        namespace=account.namespace,
        plan=found.plan,
        balance=found.balance,
        held=found.held,
        available=found.available,
    )
