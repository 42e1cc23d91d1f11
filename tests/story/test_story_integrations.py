"""The snippets of docs/integrations.md, run as they stand there.

Python clients live in a virtual environment of their own (``make integrations``), node's in tests/story/node (``make
node``). What is not installed is skipped, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy, running
from tests.docs_reading import FENCED, ROOT, Block, blocks_of
from tests.processes import query
from tests.story.conftest import FILES, POLICIES, config
from tests.test_house_files import litellm_pins, unhashed

WAIT_S = 60
ADDRESS = "127.0.0.1:4000"
PAGE = ROOT / "docs/integrations.md"
CLIENTS = Path(os.environ.get("ORCH_INTEGRATIONS", ROOT / ".venv-integrations")) / "bin"
NODE = ROOT / "tests/story/node/node_modules"
NEEDS = {
    "curl": None,
    "openai-python": None,
    "openai-node": "openai",
    "LangChain (Python)": "langchain_openai",
    "LlamaIndex": "llama_index/llms/openai_like",
    "Vercel AI SDK": "@ai-sdk/openai-compatible",
    "llm": "llm",
}
"""Each client of the page, and the package that has to be there."""


def snippets() -> dict[str, Block]:
    """The snippet below each heading that has one."""
    sections = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {title: list(blocks_of(PAGE, text)) for title, text in zip(sections[::2], sections[1::2], strict=True)}
    return {title: below[0] for title, below in found.items() if below}


SNIPPETS = snippets()


def missing(client: str) -> str | None:
    """Why this client's snippet cannot run here."""
    package = NEEDS[client]
    if SNIPPETS[client].language == "js":
        if shutil.which("node") is None:
            return "node is not installed"
        return None if (NODE / str(package) / "package.json").exists() else f"{package} is not installed: make node"
    if package is not None and not list(CLIENTS.parent.glob(f"lib/python*/site-packages/{package}")):
        return f"{package} is not installed: make integrations"
    if SNIPPETS[client].language == "sh" and not (shutil.which("bash") and shutil.which("curl")):
        return "bash or curl is not installed"
    return None


def needing(client: str) -> Any:
    reason = missing(client)
    return pytest.param(client, id=client, marks=pytest.mark.skipif(reason is not None, reason=str(reason)))


EACH = pytest.mark.parametrize("client", [needing(client) for client in NEEDS])


async def outcome(client: str, text: str, directory: Path) -> tuple[int, str]:
    """The exit code of this text run by this client's interpreter, and all that was printed."""
    python = sys.executable if NEEDS[client] is None else str(CLIENTS / "python")
    match SNIPPETS[client].language:
        case "py":
            command = [python, "-c", text]
        case "js":
            (directory / "node_modules").symlink_to(NODE)
            (directory / "snippet.mjs").write_text(text)
            command = ["node", "snippet.mjs"]
        case _:
            command = ["bash", "-euo", "pipefail", "-c", text]
    home = {"HOME": str(directory), "LLM_USER_PATH": str(directory), "PATH": f"{CLIENTS}:{os.environ['PATH']}"}
    return await ended(command, directory, home)


async def ended(command: list[str], directory: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={**environ, "NO_PROXY": "127.0.0.1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, out.decode()


async def adapted(client: str, proxy: RunningProxy) -> str:
    """The snippet with this proxy's address and a back end's key of it."""
    text = SNIPPETS[client].text
    assert f"http://{ADDRESS}" in text
    assert "sk-orch-..." in text
    key = await proxy.service_key()
    return text.replace(f"http://{ADDRESS}", proxy.root_url).replace("sk-orch-...", key)


def test_every_snippet_of_the_page_is_run() -> None:
    assert SNIPPETS.keys() == NEEDS.keys()
    assert len(FENCED.findall(PAGE.read_text())) == len(SNIPPETS)


@EACH
async def test_the_snippet_is_answered_and_paid_by_the_user_and_action_it_names(
    client: str, proxy: RunningProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    code, printed = await outcome(client, await adapted(client, proxy), tmp_path)

    assert code == 0, printed
    assert "Hellothere" in "".join(printed.split())
    (row,) = query(proxy.database, "SELECT account, action, state, points_charged FROM calls")
    assert list(row.values()) == ["app/ana", "ai_scan", "closed", 15]
    assert len(upstream.requests) == 1


@EACH
async def test_a_refusal_for_want_of_energy_is_told_and_asked_for_once(
    client: str, proxy: RunningProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    await proxy.user_key("ana", energy=1)

    _, printed = await outcome(client, await adapted(client, proxy), tmp_path)

    assert "Insufficient energy. Required: 5, Available: 1" in printed
    assert upstream.requests == []
    assert query(proxy.database, "SELECT error FROM calls") == [{"error": "insufficient_energy"}]


RETRYING = {"Vercel AI SDK": "  maxRetries: 0,\n", "LlamaIndex": "    max_retries=0,\n"}


@pytest.mark.parametrize("client", [needing(client) for client in RETRYING])
@pytest.mark.parametrize(("status", "asked"), [(429, 3), (402, 1)])
async def test_clients_that_retry_every_429_take_a_402_as_final(
    client: str, status: int, asked: int, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    policies = POLICIES.replace("prices: energy.yaml", f"prices: energy.yaml, refusal_status: {status}")
    async with running(tmp_path, config=config(upstream), files={**FILES, "policies/default.yaml": policies}) as proxy:
        await proxy.user_key("ana", energy=1)
        text = await adapted(client, proxy)
        assert RETRYING[client] in text
        _, printed = await outcome(client, text.replace(RETRYING[client], ""), tmp_path)
        assert "Insufficient energy" in printed
        assert len(query(proxy.database, "SELECT error FROM calls")) == asked


def test_the_lock_of_the_clients_pins_every_one_by_hash() -> None:
    lock = (ROOT / "requirements-integrations.lock").read_text()
    assert unhashed(lock) == []
    assert litellm_pins(lock) == []
