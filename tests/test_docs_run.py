"""The documentation as a test, run: the demo's output, every bash and Python block against a proxy, the response headers."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.call import Role
from proxy.testing import ScriptedUpstream, error
from proxy.testing.running import RunningProxy, running
from tests.cli.test_child import free_port
from tests.docs_reading import ROOT, blocks, coded, rows

ADDRESS = "127.0.0.1:4000"
WAIT_S = 60
CONFIG = "store: sqlite:///data/orch.db\ndurability: relaxed\n"
SCRIPTED = """
store: sqlite:///data/orch.db
durability: relaxed
upstreams:
  fake: {{base_url: "{url}", api_key: sk-none, provider: openai}}
models:
  gpt-4o: {{class: premium, deployments: [{{upstream: fake}}], price: {{input: 2.5, output: 10}}}}
  gpt-4o-mini: {{class: economy, deployments: [{{upstream: fake}}], price: {{input: 0.15, output: 0.6}}}}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a ledger, as the working directory."""
    (tmp_path / "data").mkdir()
    shutil.copy(migrated, tmp_path / "data/orch.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


async def ran(*command: str, **environ: str) -> str:
    """What the command printed. Fails when it fails."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    child = await asyncio.create_subprocess_exec(
        *command, env=known, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WAIT_S):
        out, _ = await child.communicate()
    assert child.returncode == 0, out.decode()
    return out.decode()


def masked(output: str) -> str:
    """Without what differs from run to run: keys, the port, what make says."""
    output = re.sub(r"sk-orch-[\w-]+…?", "KEY", output)
    output = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", output)
    return re.sub(r"^make: .*\n", "", output, flags=re.MULTILINE).strip()


async def test_the_demo_prints_what_the_readme_shows() -> None:
    (told,) = (block.text for block in blocks("text") if block.text.startswith("make: installing"))
    printed = await ran(sys.executable, "-m", "proxy", "demo", "--exit", "--port", str(free_port()))
    assert masked(printed) == masked(told)


@pytest.fixture
async def proxy(place: Path) -> AsyncIterator[RunningProxy]:
    async with running(place, config=CONFIG) as served:
        yield served


ORCH = 'set -euo pipefail; orch() { "$PYTHON" -m proxy "$@"; }\n'


@pytest.mark.skipif(
    not shutil.which("bash") or not shutil.which("curl"), reason="the blocks are for bash, and use curl"
)
async def test_every_bash_block_runs(proxy: RunningProxy) -> None:
    known = {
        "ORCH_KEY": await proxy.user_key("reader", energy=100),
        "ORCH_ADMIN_KEY": await proxy.key(role=Role.ADMIN),
        "PYTHON": sys.executable,
    }
    address = proxy.root_url.removeprefix("http://")
    printed = [
        await ran("bash", "-c", ORCH + block.text.replace(ADDRESS, address), **known) for block in blocks("bash")
    ]
    assert all(printed)
    assert [text for text in printed if '"error":{' in text] == []
    assert sum("ok: every invariant holds" in text for text in printed) == 1
    assert any("ben\tapp\tpro\t5250\t0\t5250" in text for text in printed), "a reference counts once"


async def test_every_python_block_runs(proxy: RunningProxy, capsys: pytest.CaptureFixture[str]) -> None:
    key = await proxy.user_key("reader", energy=1000)
    found = blocks("python")
    for block in found:
        text = block.text.replace(f"http://{ADDRESS}/v1", proxy.base_url).replace("sk-orch-...", key)
        code = compile(text, str(block), "exec")
        await asyncio.to_thread(exec, code, {"__name__": "documented"})
        said = capsys.readouterr().out
        assert bool(said) == ("print(" in text), f"{block} printed {said!r}"
    assert found
    balance = await proxy.parts.store.balance("app/reader")
    assert balance is not None
    assert balance.balance < 1000


CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def test_the_response_headers_are_those_that_are_sent(place: Path) -> None:
    seen: set[str] = set()
    async with (
        ScriptedUpstream() as upstream,
        running(place, config=SCRIPTED.format(url=upstream.base_url)) as proxy,
        httpx.AsyncClient(timeout=WAIT_S, trust_env=False) as client,
    ):
        key = await proxy.user_key("reader", energy=25)

        async def ask(body: dict[str, Any], status: int) -> None:
            named = {"authorization": f"Bearer {key}"}
            response = await client.post(f"{proxy.base_url}/chat/completions", json=body, headers=named)
            assert response.status_code == status
            seen.update(name for name in response.headers if name.startswith("x-"))

        await ask(CHAT, 200)
        upstream.will(error(400))
        await ask(CHAT, 400)
        await ask({**CHAT, "stream": True}, 200)
        await ask(CHAT, 200)
        await ask(CHAT, 429)
    assert seen == {coded(row[0])[0] for row in rows((ROOT / "docs/api.md").read_text(), "header | on")}
