"""curl, as a user types it: chat, a stream as it comes, models, energy, a wrong key, wrong JSON, a large body."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import ScriptedUpstream, completion, delta, done, end, event, finish, head, role, wait_for
from proxy.testing.running import RunningProxy

CURL = shutil.which("curl")
WAIT_S = 30
CHAT = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Grüezi"}]}'
STREAM = '{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Grüezi"}]}'

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@dataclass(frozen=True, slots=True)
class Printed:
    """What ``curl -i`` printed: the last head and the body."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def typed(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``curl`` with these arguments, while it runs."""
    running = await asyncio.create_subprocess_exec(
        str(CURL), "-sS", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT_S):
            yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def curl(*arguments: str) -> Printed:
    async with typed("-i", *arguments) as running:
        out, said = await running.communicate()
    assert running.returncode == 0, said.decode()
    heads, _, body = out.decode().rpartition("\r\n\r\n")
    first, *lines = heads.rpartition("\r\n\r\n")[2].split("\r\n")  # behind a "100 Continue", if there was one
    pairs = (line.partition(": ") for line in lines)
    return Printed(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


async def test_a_chat(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    got = await curl(
        f"{proxy.base_url}/chat/completions", "-H", "Content-Type: application/json", "-H", bearer, "-d", CHAT
    )

    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert got.json == completion()
    assert got.headers["x-orch-energy-remaining"] == "15"
    assert upstream.requests[0].body == json.loads(CHAT)


async def test_a_chat_without_a_content_type_and_with_the_other_key_header(proxy: RunningProxy) -> None:
    """``-d`` alone says that it sends a form."""
    key = f"x-api-key: {await proxy.user_key('ana', energy=25)}"

    got = await curl(f"{proxy.base_url}/chat/completions", "-H", key, "-d", CHAT)

    assert (got.status, got.json) == (200, completion())


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_a_stream_is_printed_as_it_comes(proxy: RunningProxy, upstream: ScriptedUpstream, version: str) -> None:
    seen = asyncio.Event()
    upstream.will([head(), event(role()), event(delta("Hel")), wait_for(seen), event(finish()), done(), end()])
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    async with typed("-N", version, f"{proxy.base_url}/chat/completions", "-H", bearer, "-d", STREAM) as running:
        assert running.stdout is not None
        printed = b""
        while b"Hel" not in printed:  # the upstream says no more until this has been printed
            printed += await running.stdout.readuntil(b"\n\n")
        seen.set()
        printed += await running.stdout.read()
        assert await running.wait() == 0

    assert [line[:7] for line in printed.split(b"\n\n")[:-1]] == [b"data: {"] * 3 + [b"data: ["]
    assert printed.endswith(b"data: [DONE]\n\n")


async def test_the_models(proxy: RunningProxy) -> None:
    bearer = f"Authorization: Bearer {await proxy.user_key('ana')}"

    listed = await curl(f"{proxy.base_url}/models", "-H", bearer)
    one = await curl(f"{proxy.base_url}/models/gpt-4o-mini", "-H", bearer)

    assert listed.json["object"] == "list"
    assert {model["id"] for model in listed.json["data"]} == {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}
    assert (one.json["id"], one.json["object"]) == ("gpt-4o-mini", "model")


async def test_the_energy_left_and_what_the_call_cost(proxy: RunningProxy) -> None:
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    answered = await curl(f"{proxy.base_url}/chat/completions", "-H", bearer, "-d", CHAT)
    energy = await curl(f"{proxy.base_url}/energy", "-H", bearer)
    call = await curl(f"{proxy.base_url}/calls/{answered.headers['x-request-id']}", "-H", bearer)

    assert (energy.json["available"], energy.json["held"]) == (15, 0)
    assert (call.json["model"], call.json["energy"]["charged"]) == ("gpt-4o", 10)


@pytest.mark.parametrize(
    "key", ["", "Authorization: Bearer sk-orch-wrong_key", "Authorization: Basic b3BlbjpzZXNhbWU="]
)
async def test_no_key_or_a_wrong_one(proxy: RunningProxy, upstream: ScriptedUpstream, key: str) -> None:
    got = await curl(f"{proxy.base_url}/chat/completions", *(("-H", key) if key else ()), "-d", CHAT)

    assert got.status == 401
    assert "User not authenticated" in got.json["error"]["message"]
    assert got.headers["x-request-id"]
    assert got.headers["www-authenticate"] == "Bearer"
    assert upstream.requests == []


async def test_wrong_json(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    """The quotes of a shell that was not expected."""
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    got = await curl(f"{proxy.base_url}/chat/completions", "-H", bearer, "-d", "{model: gpt-4o, messages: [")

    assert got.status == 400
    assert set(got.json["error"]) == {"message", "type", "param", "code"}
    assert (got.json["error"]["type"], got.json["error"]["code"]) == ("invalid_request_error", "invalid_json")
    assert "line 1 column 2" in got.json["error"]["message"]
    assert upstream.requests == []


async def test_a_script_sees_a_failure_by_curls_exit_code(proxy: RunningProxy) -> None:
    async with typed("--fail-with-body", f"{proxy.base_url}/energy") as running:
        out, _ = await running.communicate()

    assert running.returncode == 22
    assert "User not authenticated" in json.loads(out)["error"]["message"]


async def test_a_wrong_method_or_path_is_told_as_json(proxy: RunningProxy) -> None:
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    read = await curl(f"{proxy.base_url}/chat/completions", "-H", bearer)
    lost = await curl(f"{proxy.base_url}/chat/completion", "-H", bearer, "-d", CHAT)

    assert (read.status, read.headers["allow"]) == (405, "POST")
    assert lost.status == 404
    assert {read.json["error"]["type"], lost.json["error"]["type"]} == {"invalid_request_error"}


async def test_a_body_so_large_that_curl_asks_first(
    proxy: RunningProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Beyond 1 MB curl sends ``Expect: 100-continue`` and waits for the word."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [picture]}]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    bearer = f"Authorization: Bearer {await proxy.user_key('ana', energy=25)}"

    got = await curl(
        f"{proxy.base_url}/chat/completions",
        *("-H", bearer, "-H", "Expect: 100-continue", "--data-binary", f"@{tmp_path}/body.json"),
    )

    assert got.status == 200, got.body
    assert upstream.requests[0].body == body


async def test_whether_it_lives_needs_no_key(proxy: RunningProxy) -> None:
    for path in ("livez", "readyz", "health/liveliness", "health/readiness"):
        assert (await curl(f"{proxy.root_url}/{path}")).status == 200, path
