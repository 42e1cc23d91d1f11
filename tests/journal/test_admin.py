"""The admin operations on a store of this process: checked, refused in words, counted once."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Principal, Role
from proxy.errors import BadRequest
from proxy.journal.admin import (
    CreateUser,
    DirectAdmin,
    GivePoints,
    ListKeys,
    ReadBalance,
    RevokeKey,
    UserBalance,
    checked,
)
from proxy.journal.memory import MemoryStore
from proxy.keys import Keyring, NewKey

ANA = CreateUser(user="ana", plan="free", points=25)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def keyring(store: MemoryStore) -> Keyring:
    return Keyring(store, b"pepper")


@pytest.fixture
def admin(store: MemoryStore, keyring: Keyring) -> DirectAdmin:
    return DirectAdmin(store, keyring)


async def test_a_created_user_has_its_points(admin: DirectAdmin) -> None:
    expected = UserBalance(user="ana", namespace="app", plan="free", balance=25, held=0, available=25)
    assert await admin.create_user(ANA) == expected
    assert await admin.balance(ReadBalance(user="ana")) == expected


async def test_a_user_that_exists_is_not_made_again(admin: DirectAdmin) -> None:
    await admin.create_user(ANA)
    with pytest.raises(BadRequest, match="'ana' exists"):
        await admin.create_user(CreateUser(user="ana", plan="pro", points=1000))
    assert (await admin.balance(ReadBalance(user="ana"))).balance == 25


async def test_a_user_that_is_asked_for_twice_is_one_user(admin: DirectAdmin) -> None:
    first, again = await admin.ensure_user(ANA), await admin.ensure_user(ANA)

    assert (first.created, again.created) == (True, False)
    assert first.user == again.user == await admin.balance(ReadBalance(user="ana"))
    with pytest.raises(BadRequest, match="another opening"):
        await admin.ensure_user(CreateUser(user="ana", plan="pro", points=1000))


async def test_two_namespaces_have_two_users_of_one_name(admin: DirectAdmin) -> None:
    await admin.create_user(ANA)
    await admin.create_user(CreateUser(user="ana", namespace="shop", plan="free", points=1))
    assert (await admin.balance(ReadBalance(user="ana"))).balance == 25
    assert (await admin.balance(ReadBalance(user="ana", namespace="shop"))).balance == 1


async def test_a_grant_adds_points(admin: DirectAdmin) -> None:
    await admin.create_user(ANA)
    assert (await admin.grant(GivePoints(user="ana", points=5))).balance == 30


async def test_an_unknown_user_gets_no_grant_and_has_no_balance(admin: DirectAdmin, store: MemoryStore) -> None:
    with pytest.raises(BadRequest, match="no user 'bob' in namespace 'app'"):
        await admin.grant(GivePoints(user="bob", points=5))
    with pytest.raises(BadRequest, match="orch users create"):
        await admin.balance(ReadBalance(user="bob"))


async def test_a_key_works_until_it_is_revoked(admin: DirectAdmin, keyring: Keyring) -> None:
    made = await admin.create_key(NewKey(role=Role.SERVICE, name="back end"))
    assert await keyring.principal(made.key) == Principal(key_id=made.facts.id, role=Role.SERVICE, namespace="app")
    await admin.revoke_key(RevokeKey(key_id=made.facts.id))
    (listed,) = (await admin.list_keys(ListKeys())).keys
    assert listed.revoked_at is not None
    assert listed.name == "back end"
    assert made.key.removeprefix("sk-orch-").partition("_")[2] not in listed.model_dump_json()


async def test_keys_are_listed_by_namespace(admin: DirectAdmin) -> None:
    await admin.create_key(NewKey(role=Role.SERVICE))
    await admin.create_key(NewKey(role=Role.SERVICE, namespace="shop"))
    assert [key.namespace for key in (await admin.list_keys(ListKeys(namespace="shop"))).keys] == ["shop"]
    assert len((await admin.list_keys(ListKeys())).keys) == 2


async def test_an_unknown_key_is_not_revoked(admin: DirectAdmin) -> None:
    with pytest.raises(BadRequest, match="orch keys list"):
        await admin.revoke_key(RevokeKey(key_id="nope"))


@pytest.mark.parametrize("points", [0, -1, 1.5, 10**12 + 1, "5", True, None, float("nan")])
def test_points_are_whole_and_in_bounds(points: object) -> None:
    with pytest.raises(BadRequest, match="points"):
        checked(GivePoints, {"user": "ana", "points": points})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "user"),
        ({"user": "a\nb", "points": 1}, "user"),
        ({"user": "ana", "points": 1, "namespace": "A B"}, "namespace"),
        ({"user": "ana", "points": 1, "color": "red"}, "color"),
        ({"user": "ana", "points": 1, "source_ref": ""}, "source_ref"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        checked(GivePoints, arguments)
