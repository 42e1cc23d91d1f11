"""Canaries: secrets that look like nothing we could know, sent through everything, then looked for everywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import (
    ScriptedUpstream,
    answer,
    completion,
    delta,
    end,
    error,
    event,
    finish,
    hang,
    head,
    reset,
    role,
    stream,
)
from tests.processes import ROOT, Served, ran, serving, write
from tests.story.conftest import FILES
from tests.telemetry.collector import Collector, collecting
from tests.upstream.fake_anthropic import FakeAnthropic, message, text_block

PROVIDER = "CanaryProviderKey0aQ"
HEADER = "CanaryHeaderValue1bR"
CLAUDE = "CanaryClaudeKey2cS"
SECRET = "CanaryOrchSecret3dT"
ADMIN = "CanaryAdminKey4eU"
PROMPT = "CanaryPrompt5fV"
ANSWER = "CanaryAnswer6gW"
MISPLACED = "CanaryMisplaced7hX"
KEYS = (PROVIDER, HEADER, CLAUDE, SECRET, ADMIN, MISPLACED)
TEXTS = (PROMPT, ANSWER)

CONFIG = """
store: sqlite:///orch.db
log: {{level: debug, calls: "on"}}
telemetry: {{otlp: "{collector}"}}
upstreams:
  fake: {{base_url: "{fake}", api_key: "${{PROVIDER}}", provider: openai, headers: {{x-team: "${{HEADER}}"}}}}
  claude: {{base_url: "{claude}", provider: anthropic, via: litellm, api_key: "${{CLAUDE}}"}}
models:
  gpt-4o: {{deployments: [{{upstream: fake}}]}}
  gpt-4o-mini: {{deployments: [{{upstream: fake}}]}}
  claude-sonnet-4-5: {{deployments: [{{upstream: claude}}]}}
"""

# Put into the process as an operator's own module would be: a bug of ours whose error repeats the request.
BUG = f"""
import proxy.policy.energy as energy
charge = energy.Energy.__call__
async def broken(self, call, call_next):
    if "please crash" in str(call.body):
        raise ValueError(call.body, "{PROVIDER}")
    return await charge(self, call, call_next)
energy.Energy.__call__ = broken
"""


@dataclass
class World:
    """A running proxy with canaries in it, and everything it was heard to say over HTTP."""

    served: Served
    client: httpx.AsyncClient
    upstream: ScriptedUpstream
    claude: FakeAnthropic
    collector: Collector
    heard: list[str] = field(default_factory=list)

    async def post(self, body: Any, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        got = await self.client.post(path, content=content, headers=headers)
        return self.noted(got)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return self.noted(await self.client.get(path, headers=headers))

    def noted(self, got: httpx.Response) -> httpx.Response:
        self.heard.append(f"{got.status_code} {got.headers} {got.text}")
        return got


def chat(text: str = PROMPT, model: str = "gpt-4o", **more: Any) -> Any:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def alive(directory: Path) -> AsyncIterator[World]:
    (directory / "added").mkdir()
    (directory / "added/sitecustomize.py").write_text(BUG)
    environ = {
        "PROVIDER": PROVIDER,
        "HEADER": HEADER,
        "CLAUDE": CLAUDE,
        "ORCH_SECRET": SECRET,
        "ORCH_ADMIN_KEY": ADMIN,
        "PYTHONPATH": f"{directory / 'added'}:{ROOT}",
    }
    async with ScriptedUpstream() as upstream, FakeAnthropic() as claude, collecting() as collector:
        text = CONFIG.format(fake=upstream.base_url, claude=claude.base_url, collector=collector.endpoint)
        write(directory, {"config.yaml": text, **FILES})
        async with serving(directory, environ=environ) as served:
            key = await served.user_key("ana", energy=100_000)
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            async with httpx.AsyncClient(base_url=served.root_url, headers=headers, timeout=30) as client:
                yield World(served, client, upstream, claude, collector)


async def succeed(world: World) -> None:
    world.upstream.will(answer(completion(ANSWER)), stream(role(), delta(ANSWER), finish()))
    assert ANSWER in (await world.post(chat())).text
    assert ANSWER in (await world.post(chat(stream=True))).text
    world.claude.will(answer(message(text_block(ANSWER))))
    assert ANSWER in (await world.post(chat(model="claude-sonnet-4-5"))).text


def leak(status: int) -> Any:
    """A provider that repeats the key it was sent and the prompt."""
    said = f"key {PROVIDER} and {HEADER}, prompt {PROMPT}, at https://u:{PROVIDER}@host/?key={PROVIDER}"
    return answer({"error": {"message": said, "type": "x", "code": PROVIDER, "param": HEADER}}, status=status)


async def fail(world: World) -> None:
    for status in (400, 401, 404, 429, 500):
        world.upstream.always(leak(status))
        await world.post(chat())
        await world.post(chat(stream=True))
    started = [head(), event(role()), event(delta(ANSWER))]
    world.upstream.will([*started, reset()], [*started, event({"error": {"message": PROVIDER}}), end()])
    await world.post(chat(stream=True))
    await world.post(chat(stream=True))
    soon = {"x-orch-timeout-s": "1"}
    for script in (answer(f"<html>{ANSWER} {PROVIDER}".encode()), [reset()], [hang()]):
        world.upstream.always(script)
        await world.post(chat(), **soon)
    world.upstream.always(answer(completion(ANSWER)))
    world.claude.always(
        answer({"type": "error", "error": {"type": "api_error", "message": CLAUDE + PROMPT}}, status=500)
    )
    await world.post(chat(model="claude-sonnet-4-5"))
    world.claude.always(error(401, message=f"x-api-key {CLAUDE} {PROMPT}"))
    await world.post(chat(model="claude-sonnet-4-5"))


async def misuse(world: World) -> None:
    await world.post(chat(metadata={"action": "made up"}))
    await world.post(b'{"model": "gpt-4o", "messages": "' + PROMPT.encode() + b'"')
    await world.post(chat(api_key=PROMPT, n="many"))
    await world.post(chat(model="nothing"))
    await world.post({**chat(), "messages": [{"role": PROMPT, "content": {PROMPT: PROMPT}}]})
    await world.post(chat(), "/v1/responses")
    await world.post(chat(), authorization=f"Bearer {MISPLACED}")
    await world.post(chat(), authorization="Bearer sk-orch-0123456789abcdef_" + MISPLACED + "x" * 30)
    await world.get("/v1/models", authorization=f"Basic {MISPLACED}")
    for path in ("/v1/models", "/v1/energy", "/metrics", "/readyz"):
        await world.get(path)


async def crash(world: World) -> None:
    got = await world.post(chat(f"please crash {PROMPT}"))
    assert (got.status_code, got.json()["error"]["code"]) == (500, "internal_error")
    await world.served.child.err.said("a bug of ours")


async def misconfigure(world: World) -> None:
    text = (world.served.database.parent / "config.yaml").read_text()
    since = len(world.served.child.err.lines)
    wrong = text.replace("provider: openai", f"provider: openai, stream_usage: {MISPLACED}, api_kye: ${{PROVIDER}}")
    write(world.served.database.parent, {"config.yaml": wrong.replace("via: litellm", "via: ${CLAUDE}")})
    await world.served.child.err.said("configuration refused", since=since)
    write(world.served.database.parent, {"config.yaml": text})


async def command(world: World, environ: Mapping[str, str]) -> list[str]:
    """What ``orch`` says beside the running proxy."""
    said = []
    for words in (
        ("check",),
        ("keys", "list"),
        ("keys", "list", "--json"),
        ("users", "balance", "ana"),
        ("ledger", "verify"),
        ("calls", "list", "--json"),
        ("models",),
    ):
        _, out, err = await ran(*words, "--config", "config.yaml", cwd=world.served.database.parent, environ=environ)
        assert "Traceback" not in err, words
        said += [out, err]
    return said


def found(texts: Mapping[str, bytes], canaries: Iterable[str]) -> list[tuple[str, str]]:
    return [(where, canary) for where, text in texts.items() for canary in canaries if canary.encode() in text]


def files(directory: Path) -> dict[str, bytes]:
    """Everything the proxy wrote; the configuration refers to its secrets, the sockets and locks have names."""
    kept = {path for path in directory.rglob("*") if "added" not in path.parts and path.name != "config.yaml"}
    return {str(path): str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in kept}


@pytest.mark.timeout(180)
async def test_no_secret_and_no_prompt_is_found_anywhere(tmp_path: Path) -> None:
    async with alive(tmp_path) as world:
        for part in (succeed, fail, misuse, crash, misconfigure):
            await part(world)
        environ = {"PROVIDER": PROVIDER, "HEADER": HEADER, "CLAUDE": CLAUDE, "ORCH_SECRET": SECRET}
        commands = await command(world, environ)
        metrics = (await world.get("/metrics")).text
        key = world.client.headers["authorization"].removeprefix("Bearer ").partition("_")[2]
        while_running = files(tmp_path)
        world.served.child.process.terminate()
        assert await world.served.child.ended() == 0
        collector, child = world.collector, world.served.child
        answers = "\n".join(world.heard).encode()
        upstream_saw = [request.headers["authorization"] for request in world.upstream.requests]

    quiet = {
        "stdout": child.out.text.encode(),
        "stderr": child.err.text.encode(),
        "metrics": metrics.encode(),
        "otlp": collector.raw,
        "orch": "\n".join(commands).encode(),
        **while_running,
        **files(tmp_path),
    }
    assert set(upstream_saw) == {f"Bearer {PROVIDER}"}  # the canaries were there to be told
    assert collector.spans
    assert "call answered" in child.err.text
    assert found(quiet, (*KEYS, *TEXTS, key)) == []
    assert found({"answers": answers}, (*KEYS, key)) == []
    assert "never retrieved" not in child.err.text


@pytest.mark.timeout(60)
async def test_a_configuration_that_cannot_be_used_tells_none_of_its_secrets(tmp_path: Path) -> None:
    environ = {"PROVIDER": PROVIDER, "ORCH_SECRET": SECRET, "ORCH_ADMIN_KEY": ADMIN}
    wrong = f"upstreams: {{a: {{base_url: 'http://u:{MISPLACED}@h/v1', api_key: [\"${{PROVIDER}}\"]}}}}\nstore: ${{PROVIDER}}\n"
    write(tmp_path, {"config.yaml": wrong})

    for words in (("serve", "--listen", "127.0.0.1:0"), ("check",)):
        code, out, err = await ran(*words, "--config", "config.yaml", cwd=tmp_path, environ=environ)
        assert code
        assert found({"said": (out + err).encode()}, KEYS) == []


def test_a_canary_that_is_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "orch.db-wal").write_bytes(b"\0" + PROMPT.encode())
    (where,) = found(files(tmp_path), (PROMPT, ANSWER))
    assert where == (str(tmp_path / "orch.db-wal"), PROMPT)
