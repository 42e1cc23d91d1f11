"""What a proxy keeps of calls, how long, and what an operator does about it while calls go on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from proxy.errors import BadRequest
from proxy.journal import lock
from proxy.journal.operations import AskReload, EraseUser, MakeBackup, PruneRecords, ReadStatus, RotateKey
from proxy.journal.remote import RemoteAdmin
from proxy.journal.sqlite import read_only
from proxy.testing import ScriptedUpstream, answer, completion, delta, error, finish, role, stream
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES, config

WAIT_S = 20
ASKED, ANSWERED = "Prompt-Canary-7193", "Answer-Canary-5521"
CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ASKED}]}

R = TypeVar("R")


def remote(proxy: RunningProxy) -> RemoteAdmin:
    return RemoteAdmin(lock.socket_path(proxy.database))


async def ask(proxy: RunningProxy, key: str, body: Any = CHAT) -> httpx.Response:
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        return await client.post(
            f"{proxy.base_url}/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        )


async def call_all_ways(proxy: RunningProxy, upstream: ScriptedUpstream) -> dict[str, str]:
    """Answered, streamed, failed, refused: the ids of the calls, with the canaries in whatever was said."""
    upstream.will(
        answer(completion(ANSWERED)),
        stream(role(), delta(ANSWERED), finish()),
        error(400, f"{ASKED} is no good"),
    )
    key = await proxy.user_key("ana", energy=100)
    bodies = {
        "answered": CHAT,
        "streamed": {**CHAT, "stream": True},
        "failed": CHAT,
        "refused": {**CHAT, "model": "no-such-model"},
    }
    return {name: (await ask(proxy, key, body)).headers["x-request-id"] for name, body in bodies.items()}


async def wait_for_row(read: Callable[[], Awaitable[R | None]]) -> R:
    """Bodies are written behind the call's row, which nobody waits for."""
    async with asyncio.timeout(WAIT_S):
        while (found := await read()) is None:
            await asyncio.sleep(0.01)
    return found


def files_with(folder: Path, text: str) -> list[str]:
    return [file.name for file in folder.glob("orch.db*") if file.is_file() and text.encode() in file.read_bytes()]


async def test_nothing_that_was_asked_or_answered_is_in_any_file_of_the_store(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    await call_all_ways(proxy, upstream)
    assert await proxy.parts.store.verify() == []
    for canary in (ASKED, ANSWERED):
        assert files_with(proxy.database.parent, canary) == []


async def test_bodies_are_kept_where_the_operator_says_so_and_masked(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    extra = "records: {bodies: all, redact: ['$.messages[*].role', 'Canary-\\d+']}"
    async with running(tmp_path, config=config(upstream, extra), files=FILES) as proxy:
        ids = await call_all_ways(proxy, upstream)
        store = proxy.parts.store
        answered = await wait_for_row(partial(store.bodies, ids["answered"]))
        assert json.loads(answered.request or "") == {
            **CHAT,
            "messages": [{"role": "[redacted]", "content": "Prompt-[redacted]"}],
        }
        assert "Answer-[redacted]" in (answered.response or "")
        streamed = await wait_for_row(partial(store.bodies, ids["streamed"]))
        assert (streamed.response or "").endswith("data: [DONE]\n\n")
        assert "Answer-[redacted]" in (streamed.response or "")
        refused = await wait_for_row(partial(store.bodies, ids["refused"]))
        assert (json.loads(refused.request or "")["model"], refused.response) == ("no-such-model", None)
        assert files_with(tmp_path, ASKED) == files_with(tmp_path, ANSWERED) == []


async def test_bodies_of_errors_only_are_those_of_calls_that_were_not_answered(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with running(tmp_path, config=config(upstream, "records: {bodies: errors}"), files=FILES) as proxy:
        ids = await call_all_ways(proxy, upstream)
        store = proxy.parts.store
        for name in ("failed", "refused"):
            found = await wait_for_row(partial(store.bodies, ids[name]))
            assert ASKED in (found.request or "")
        assert await store.bodies(ids["answered"]) is None
        assert await store.bodies(ids["streamed"]) is None


async def test_an_operator_reloads_and_hears_what_came_of_it(
    proxy: RunningProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    good = file.read_text()
    before = await remote(proxy).reload(AskReload())
    assert before.problems == before.notes == ()
    file.write_text(good + "limits: {calls_max: none}\n")
    refused = await remote(proxy).reload(AskReload())
    assert refused.policy_version == before.policy_version
    assert any("calls_max" in problem for problem in refused.problems)
    file.write_text(good.replace("durability: relaxed", "durability: strict") + "limits: {calls_max: 7}\n")
    live = await remote(proxy).reload(AskReload())
    assert live.problems == ()
    assert live.notes == ("durability has changed: restart the proxy to apply it",)
    assert proxy.parts.gateway.live.version.limits.calls_max == 7


async def test_an_operator_rotates_erases_and_backs_up_while_calls_go_on(
    proxy: RunningProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    operator = remote(proxy)
    bens = await proxy.user_key("ben", energy=100)
    key = await proxy.user_key("ana", energy=100)
    assert (await ask(proxy, key)).status_code == 200
    rotated = await operator.rotate_key(RotateKey(key_id=key.removeprefix("sk-orch-").partition("_")[0]))
    assert (await ask(proxy, key)).status_code == 401
    assert (await ask(proxy, rotated.key)).status_code == 200

    async with asyncio.TaskGroup() as group:
        copying = group.create_task(operator.backup(MakeBackup(to=str(tmp_path / "copy.db"))))
        for _ in range(5):
            group.create_task(ask(proxy, bens))
    made = copying.result()
    async with read_only(Path(made.to)) as copy:
        assert await copy.verify() == []
        assert await copy.balance("app/ana") is not None

    erased = await operator.erase_user(EraseUser(user="ana"))
    assert erased.calls == 2
    assert (await ask(proxy, rotated.key)).status_code == 401
    assert await proxy.parts.store.balance("app/ana") is None
    assert (await ask(proxy, bens)).status_code == 200
    assert await proxy.parts.store.verify() == []
    assert (await operator.db_status(ReadStatus())).path == str(proxy.database)
    with pytest.raises(BadRequest, match="last hour"):
        await operator.prune(PruneRecords(before_ms=time.time_ns() // 1_000_000))


async def test_who_has_no_key_is_counted_and_never_written_down(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with running(tmp_path, config=config(upstream), files=FILES) as proxy:
        for _ in range(25):
            assert (await ask(proxy, "sk-orch-nobody")).status_code == 401
    async with read_only(proxy.database) as reader:
        (counted,) = await reader.refusals()
        assert (counted.source, counted.reason, counted.count) == ("", "invalid_api_key", 25)
        assert (await reader.totals()).calls == 0


async def test_a_caller_that_is_refused_again_and_again_is_counted_beyond_its_rows(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    extra = "records: {refusals_per_minute: 3}"
    async with running(tmp_path, config=config(upstream, extra), files=FILES) as proxy:
        poor = await proxy.service_key()
        for n in range(12):
            model = "gpt-4o" if n % 2 else "no-such-model"
            body = {**CHAT, "model": model, "user": "zoe", "n": 100}
            assert (await ask(proxy, poor, body)).status_code in (400, 404, 429)
    async with read_only(proxy.database) as reader:
        rows = (await reader.totals()).calls
        counts = await reader.refusals()
        assert 3 <= rows <= 6  # the minute may have turned once
        assert rows + sum(row.count for row in counts) == 12
