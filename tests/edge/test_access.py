"""Who may ask what: every rule of the table is asked as everybody, about everybody.

The expectations are made from the table, the requests from ``REQUESTS``; a rule without a request fails.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from proxy.call import Opening, Role
from proxy.edge.access import ACCESS, Keyless, Reach, Rule, Whose
from proxy.journal.listing import CallFilter
from proxy.journal.port import Grant, NewUser
from proxy.keys import NewKey
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
store: sqlite:///orch.db
durability: relaxed
upstreams: {fake: {via: mock}}
models:
  gpt-4o: {deployments: [{upstream: fake}]}
  gpt-4o-mini: {deployments: [{upstream: fake}]}
  text-embedding-3-small: {deployments: [{upstream: fake}], operation: embeddings}
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user with rows. ``points`` and ``reason`` are in no request: whoever reads them has read the owner's rows."""

    namespace: str
    user: str
    points: int
    call_id: str

    @property
    def account(self) -> str:
        return f"{self.namespace}/{self.user}"

    @property
    def reason(self) -> str:
        return f"canary of {self.points}"

    @property
    def query(self) -> dict[str, str]:
        return {"user": self.user, "namespace": self.namespace}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks; ``role`` None: nobody we know."""

    name: str
    key: str | None
    role: Role | None = None
    namespace: str = "app"
    user: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    proxy: RunningProxy
    client: httpx.AsyncClient
    callers: dict[str, Caller]
    owners: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about an owner's rows. Without ``named`` its namespace is the caller's own, so another's user is its own."""

    path: str
    query: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    named: bool = True


MESSAGES = [{"role": "user", "content": "hi"}]


async def _a_key_of(world: World, owner: Owner) -> str:
    new = NewKey(role=Role.USER, namespace=owner.namespace, user=owner.user)
    return (await world.proxy.parts.keyring.create(new))[0].id


async def _revoke(world: World, owner: Owner) -> Asked:
    return Asked("/admin/keys/revoke", body={"key_id": await _a_key_of(world, owner)})


async def _rotate(world: World, owner: Owner) -> Asked:
    return Asked("/admin/keys/rotate", body={"key_id": await _a_key_of(world, owner), "grace_s": 60})


async def _erase(world: World, owner: Owner) -> Asked:
    """Of a user made for this: the owners are needed still."""
    user = f"gone {owner.points}"
    await world.proxy.parts.store.create_user(NewUser(account=f"{owner.namespace}/{user}", opening=Opening("free", 1)))
    return Asked("/admin/users/erase", body={"user": user, "namespace": owner.namespace})


def _always(make: Callable[[Owner], Asked]) -> Callable[[World, Owner], Awaitable[Asked]]:
    async def made(world: World, owner: Owner) -> Asked:
        return make(owner)

    return made


def _at(path: str) -> Callable[[World, Owner], Awaitable[Asked]]:
    return _always(lambda owner: Asked(path))


REQUESTS: dict[str, Callable[[World, Owner], Awaitable[Asked]]] = {
    "chat": _always(
        lambda owner: Asked(
            "/v1/chat/completions",
            body={"model": "gpt-4o-mini", "messages": MESSAGES},
            headers={"x-orch-user": owner.user},
            named=False,
        )
    ),
    "embeddings": _always(
        lambda owner: Asked(
            "/v1/embeddings",
            body={"model": "text-embedding-3-small", "input": "hi"},
            headers={"x-orch-user": owner.user},
            named=False,
        )
    ),
    "models": _at("/v1/models"),
    "model": _at("/v1/models/gpt-4o"),
    "call": _always(lambda owner: Asked(f"/v1/calls/{owner.call_id}")),
    "energy": _always(lambda owner: Asked("/v1/energy", query=owner.query)),
    "admin_users": _always(lambda owner: Asked("/admin/users", query={"namespace": owner.namespace})),
    "admin_open_user": _always(lambda owner: Asked("/admin/users", body={**owner.query, "points": owner.points})),
    "admin_user": _always(lambda owner: Asked("/admin/users/show", query=owner.query)),
    "admin_grant": _always(lambda owner: Asked("/admin/users/grants", body={**owner.query, "points": 7})),
    "admin_history": _always(lambda owner: Asked("/admin/users/history", query=owner.query)),
    "admin_erase_user": _erase,
    "admin_keys": _always(lambda owner: Asked("/admin/keys", query={"namespace": owner.namespace})),
    "admin_make_key": _always(lambda owner: Asked("/admin/keys", body={**owner.query, "role": "user"})),
    "admin_revoke_key": _revoke,
    "admin_rotate_key": _rotate,
    "admin_calls": _always(lambda owner: Asked("/admin/calls", query=owner.query)),
    "admin_call": _always(lambda owner: Asked(f"/admin/calls/{owner.call_id}")),
    "admin_usage": _always(lambda owner: Asked("/admin/reports/usage", query={"by": "user"})),
    "admin_reload": _at("/admin/reload"),
    "admin_health": _at("/admin/health"),
    "metrics": _at("/metrics"),
    "openapi": _at("/openapi.json"),
    "live": _at("/livez"),
    "live_too": _at("/health/liveliness"),
    "ready": _at("/readyz"),
    "ready_too": _at("/health/readiness"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("access")
    shutil.copy(migrated, folder / "orch.db")
    async with (
        running(folder, config=CONFIG, files=FILES) as proxy,
        httpx.AsyncClient(base_url=proxy.root_url, trust_env=False) as client,
    ):
        places = (("app", "ana", 734_211), ("app", "ben", 845_322), ("other", "ana", 956_433))
        owners = [await _owner(proxy, client, *place) for place in places]
        yield World(proxy, client, {caller.name: caller for caller in await _callers(proxy)}, tuple(owners))


async def _owner(proxy: RunningProxy, client: httpx.AsyncClient, namespace: str, user: str, points: int) -> Owner:
    """A user with points, a grant, and a call."""
    store, account = proxy.parts.store, f"{namespace}/{user}"
    await store.create_user(NewUser(account=account, opening=Opening("free", points)))
    _, key = await proxy.parts.keyring.create(NewKey(role=Role.USER, namespace=namespace, user=user))
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "metadata": {"prospect_id": f"canary of {points}"}}
    answer = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    owner = Owner(namespace, user, points, answer.headers["x-request-id"])
    await store.grant(Grant(account=account, points=1, kind="adjust", reason=owner.reason))
    return owner


async def _callers(proxy: RunningProxy) -> list[Caller]:
    keyring = proxy.parts.keyring

    async def holder(name: str, role: Role, namespace: str = "app", user: str | None = None) -> Caller:
        _, key = await keyring.create(NewKey(role=role, namespace=namespace, user=user))
        return Caller(name, key, role, namespace, user)

    row, revoked = await keyring.create(NewKey(role=Role.ADMIN))
    await keyring.revoke(row.id)
    return [
        Caller("no key", None),
        Caller("a revoked key", revoked),
        Caller("a key that is none", "sk-orch-0000000000000000_00000000000000000000"),
        await holder("a user", Role.USER, user="ana"),
        await holder("a user of another application", Role.USER, "other", "ana"),
        await holder("a service", Role.SERVICE),
        await holder("a service of another application", Role.SERVICE, "other"),
        await holder("an admin", Role.ADMIN),
    ]


CALLERS = (
    "no key",
    "a revoked key",
    "a key that is none",
    "a user",
    "a user of another application",
    "a service",
    "a service of another application",
    "an admin",
)


def reach_of(rule: Rule, caller: Caller) -> Reach | None:
    """What the table gives this caller; None: nothing. Told here again, in other words than the guard's."""
    whose = None if caller.role is None else rule.who.get(caller.role)
    if whose is None:
        return None
    namespace = None if whose is Whose.ALL else caller.namespace
    return Reach(namespace, caller.user if whose in (Whose.OWN, Whose.NOBODYS) else None)


def allowed(rule: Rule, caller: Caller, owner: Owner, asked: Asked) -> set[int]:
    """The statuses that the table allows for this."""
    if rule.keyless is not Keyless.NOBODY:
        return {200}
    if caller.role is None:
        return {401}
    reach = reach_of(rule, caller)
    if reach is None:
        return {403}
    namespace = owner.namespace if asked.named else caller.namespace
    its_own = rule.who[caller.role] is Whose.NOBODYS or reach.covers(namespace=namespace, user=owner.user)
    return {200, 201} if its_own else {403, 404}


async def rows_of(world: World, owner: Owner) -> object:
    """All that is in the books of an owner. Refusals are no rows of whoever was named in them."""
    store: Any = world.proxy.parts.store
    calls = await store.calls(CallFilter(account=owner.account), limit=1000)
    keys = [key for key in await store.keys(owner.namespace) if key.user == owner.user]
    return (
        await store.entries(owner.account, limit=1000),
        await store.grants(owner.account),
        await store.balance(owner.account),
        [row for row in calls if row["state"] != "refused"],
        keys,
    )


async def answered(world: World, rule: Rule, caller: Caller, asked: Asked) -> httpx.Response:
    headers = {**(asked.headers or {}), **({} if caller.key is None else {"authorization": f"Bearer {caller.key}"})}
    return await world.client.request(rule.method, asked.path, params=asked.query, json=asked.body, headers=headers)


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("rule", ACCESS, ids=lambda rule: rule.name)
async def test_a_caller_sees_and_changes_what_the_table_says_and_nothing_else(
    world: World, rule: Rule, name: str
) -> None:
    caller = world.callers[name]
    reach = reach_of(rule, caller)
    requests = [(owner, await REQUESTS[rule.name](world, owner)) for owner in world.owners]
    others = [owner for owner in world.owners if reach is None or not covers(reach, owner)]
    before = [await rows_of(world, other) for other in others]

    for owner, asked in requests:
        got = await answered(world, rule, caller, asked)

        assert got.status_code in allowed(rule, caller, owner, asked), got.text
        assert [other for other in others if str(other.points) in got.text] == [], "rows of others were read"
    assert [await rows_of(world, other) for other in others] == before, "rows of others were changed"


def covers(reach: Reach, owner: Owner) -> bool:
    return reach.covers(namespace=owner.namespace, user=owner.user)


async def test_everybody_is_asked_everything_and_only_some_may(world: World) -> None:
    """The test above can fail."""
    owner = world.owners[0]
    asked = Asked("/v1/energy", query=owner.query)
    energy = next(rule for rule in ACCESS if rule.name == "energy")

    got = {name: (await answered(world, energy, caller, asked)) for name, caller in world.callers.items()}

    assert [name for name, answer in got.items() if str(owner.points) in answer.text or answer.is_success] == [
        "a user",
        "a service",
        "an admin",
    ]
    assert list(world.callers) == list(CALLERS)
    assert REQUESTS.keys() == {rule.name for rule in ACCESS}


SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda path: f"{path}/",
    lambda path: f"/{path}",
    str.upper,
    lambda path: f"/v1{path}",
    lambda path: f"/x/%2e%2e{path}",
    lambda path: f"{path}%00",
    lambda path: f"{path}.json",
)


@pytest.mark.parametrize("name", ["no key", "an admin"])
async def test_nothing_is_served_under_another_spelling_of_a_path(world: World, name: str) -> None:
    caller = world.callers[name]
    for rule in ACCESS:
        path = rule.path.replace("{id}", "x").replace("{id:path}", "x")
        for spell in SPELLINGS:
            got = await answered(world, rule, caller, Asked(f"{world.proxy.root_url}{spell(path)}"))

            assert got.status_code == (401 if caller.role is None else 404), f"{got.request.url}: {got.text}"
