"""docs/quickstart.md, done from its second step on: every command as it stands there, in one folder, against one provider."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.testing import ScriptedUpstream
from tests.docs_reading import ROOT, blocks_of
from tests.processes import free_port, query, serving

WAIT_S = 60
ADDRESS = "127.0.0.1:4000"
PAGE = ROOT / "docs/quickstart.md"
EXPORT = "export OPENAI_API_KEY=sk-...\n"

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="the commands are for bash, and use curl"
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What step 1 leaves of a clone: the configuration, and ``.venv/bin/orch``."""
    directory = tmp_path / "clone"
    shutil.copytree(ROOT / "policies", directory / "policies")
    shutil.copy(ROOT / "config.yaml", directory / "config.yaml")
    orch = directory / ".venv/bin/orch"
    orch.parent.mkdir(parents=True)
    orch.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m proxy "$@"\n')
    orch.chmod(0o755)
    return directory


async def typed(commands: str, directory: Path, environ: Mapping[str, str]) -> str:
    """What these commands printed, all in one shell. Fails when one of them fails."""
    child = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", commands),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **environ},
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
    assert child.returncode == 0, out.decode()
    return out.decode()


async def test_the_quickstart_leads_to_a_first_call(clone: Path, upstream: ScriptedUpstream) -> None:
    install, provide, serve, create, ask = (block.text for block in blocks_of(PAGE, PAGE.read_text()))
    known = {"OPENAI_API_KEY": "sk-of-the-reader", "OPENAI_BASE_URL": upstream.base_url}
    address = f"127.0.0.1:{free_port()}"
    assert (install, serve) == ("make setup\n", ".venv/bin/orch serve\n")
    assert provide.startswith(EXPORT)

    checked = await typed(provide.removeprefix(EXPORT), clone, known)
    async with serving(clone, "--listen", address, environ=known, database="data/orch.db") as served:
        printed = await typed(create + ask.replace(ADDRESS, address), clone, {})
        (row,) = query(served.database, "SELECT account, provider, state, points_charged FROM calls")

    assert checked.startswith("ok: ")
    assert "1 upstreams" in checked
    assert '"id":"gpt-4o-mini"' in printed
    assert "x-orch-energy-charged: 3\r\n" in printed
    assert "x-orch-energy-remaining: 97\r\n" in printed
    assert "Hello there" in printed
    assert list(row.values()) == ["app/ana", "openai", "closed", 3]
    assert [asked.headers["authorization"] for asked in upstream.requests] == ["Bearer sk-of-the-reader"]
