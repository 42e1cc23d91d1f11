"""``/openapi.json`` is true: schemathesis asks every operation as every kind of caller, and what comes back is what it says.

``make fuzz`` asks far more often. The seed is fixed; ``API_SEED`` names another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import checks
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from proxy.call import Opening, Role
from proxy.edge.access import ACCESS
from proxy.edge.openapi.document import path_of
from proxy.journal.port import NewUser
from proxy.keys import NewKey
from proxy.testing.running import RunningProxy, running
from tests.edge.test_access import CONFIG, MESSAGES
from tests.story.conftest import FILES

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = int(os.environ.get("API_EXAMPLES", "3"))
SEED = int(os.environ.get("API_SEED", "20"))
ANSWER_S = 20
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

TRUE = (
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
)
REFUSED = (*TRUE, openapi_checks.negative_data_rejection)
STRICT = frozenset(path_of(rule) for rule in ACCESS if rule.path.startswith("/admin/"))
"""The paths that refuse whatever the document does not allow; calls leave what is not ours to judge to the provider."""


@dataclass(frozen=True, slots=True)
class World:
    """A proxy and what is real in it: random names of models, users and calls never meet any."""

    proxy: RunningProxy
    keys: dict[Role | None, dict[str, str]]
    real: dict[str, str]
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("conformance")
    shutil.copy(migrated, folder / "orch.db")
    async with running(folder, config=CONFIG, files=FILES) as proxy:
        await proxy.parts.store.create_user(NewUser(account="app/ana", opening=Opening("free", 10**9)))
        keys: dict[Role | None, dict[str, str]] = {None: {}}
        for role in Role:
            key = await proxy.key(role=role, user="ana" if role is Role.USER else None)
            keys[role] = {"authorization": f"Bearer {key}"}
        body = {"model": "gpt-4o-mini", "messages": MESSAGES}
        async with httpx.AsyncClient(trust_env=False, headers=keys[Role.USER]) as client:
            called = await client.post(f"{proxy.base_url}/chat/completions", json=body)
        revoked, rotated = [(await proxy.parts.keyring.create(NewKey(role=Role.SERVICE)))[0].id for _ in range(2)]
        known = {"user": "ana", "namespace": "app", "model": "gpt-4o-mini", "embedder": "text-embedding-3-small"}
        known |= {"id": called.headers["x-request-id"], "key_id": revoked, "rotated": rotated}
        yield World(proxy, keys, known)


UNKNOWN = {name: "nobody" for name in ("id", "user", "namespace", "model", "embedder", "key_id", "rotated")}


def naming(case: Any, names: dict[str, str]) -> Any:
    """The case with these names, with texts that say something, and without what only an operator can know."""
    told: dict[str, Any] = {**names, "messages": MESSAGES, "input": "hi", "points": 3, "reason": "a gift"}
    if "/models/" in case.path:
        told["id"] = names["model"]
    if case.path.endswith("/embeddings"):
        told["model"] = names["embedder"]
    if case.path == "/admin/users":
        told["user"] = f"new {names['user']}"  # who is nobody stays nobody
    if case.path.endswith("/rotate"):
        told["key_id"] = names["rotated"]
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: value for name, value in told.items() if name in place})
            for name in ("metadata", "n", "stream_options"):
                place.pop(name, None)
    case.headers = {"x-orch-user": names["user"]}
    return case


def operations(world: World) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(f"{world.proxy.root_url}/openapi.json", timeout=ANSWER_S)
    schema.config.update(base_url=world.proxy.root_url)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), "the document itself is in order"
        yield found.ok()


def ask_everything(world: World, role: Role | None, names: dict[str, str] | None) -> None:
    """Raises for the first answer that the document does not know. ``names`` None: whatever comes up."""
    for operation in operations(world):

        @seed(SEED)
        @SETTINGS
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            asked = case if names is None else naming(case, names)
            answer = asked.call(headers=world.keys[role], timeout=ANSWER_S)
            world.seen[case.operation.label, answer.status_code] += 1
            case.validate_response(answer, checks=TRUE, headers=world.keys[role])

        ask()


def ask_wrongly(world: World) -> None:
    """Raises for the first request against the document that is not refused."""
    headers = world.keys[Role.ADMIN]
    for operation in operations(world):
        if operation.path not in STRICT or not (operation.query or operation.body):
            continue

        @seed(SEED)
        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def ask(case: Any) -> None:
            answer = case.call(headers=headers, timeout=ANSWER_S)
            case.validate_response(answer, checks=REFUSED, headers=headers)

        ask()


async def test_every_answer_is_one_that_the_document_knows(world: World) -> None:
    for role in (None, *Role):
        for names in (None, UNKNOWN, world.real):
            await asyncio.to_thread(ask_everything, world, role, names)

    done = {label for label, status in world.seen if status < 300}
    assert {f"{rule.method} {path_of(rule)}" for rule in ACCESS} - done == {"GET /openapi.json"}  # it was read to ask
    assert {status for _, status in world.seen} >= {200, 201, 400, 401, 403, 404, 409}


async def test_what_the_document_does_not_allow_is_refused(world: World) -> None:
    await asyncio.to_thread(ask_wrongly, world)
