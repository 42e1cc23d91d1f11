"""``orch demo`` as a user runs it: every promise with its figures, and a snippet that works when it is pasted."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import sys
import textwrap
from pathlib import Path

from tests.processes import connects, free_port, ran, started

PROMISED = """\
ana has 25 energy; an answer costs 10 on a premium model, 3 on an economy one.
  ana asked gpt-4o: 'What is a proxy?'       -> answered by gpt-4o, energy charged 10, left 15
  ana asked gpt-4o: 'And a sidecar?'         -> answered by gpt-4o, energy charged 10, left 5
  ana asked gpt-4o: 'Why is the sky blue?'   -> answered by gpt-4o-mini, energy charged 3, left 2
  ana asked gpt-4o: 'One more?'              -> refused: Insufficient energy. Required: 3, Available: 2
ben has 25 energy, and streams.
  ben asked gpt-4o: 'Tell me a story.'       -> answered by gpt-4o, energy charged 10, left 15
orch ledger verify: ok, every invariant holds

Paste this (Python):
"""


async def test_the_demo_keeps_every_promise_and_leaves_nothing_behind(tmp_path: Path) -> None:
    left, port = tmp_path / "left", free_port()
    left.mkdir()

    code, out, err = await ran("demo", "--exit", "--port", str(port), cwd=tmp_path, environ={"TMPDIR": str(left)})

    assert (code, err) == (0, "")
    assert out.startswith(PROMISED)
    assert f'base_url="http://127.0.0.1:{port}/v1", api_key="sk-orch-' in out
    assert list(left.iterdir()) == []
    assert not connects(port)


async def test_what_the_demo_shows_to_paste_works_until_ctrl_c_ends_it(tmp_path: Path) -> None:
    port = free_port()
    async with started("demo", "--port", str(port), cwd=tmp_path, environ={"TMPDIR": str(tmp_path)}) as demo:
        await demo.out.said(rf"Serving on http://127\.0\.0\.1:{port}/v1 until Ctrl-C")
        python, curl = pasted(demo.out.text)
        assert "ChatCompletion(id=" in await said_by(sys.executable, "-c", python)
        if shutil.which("curl"):
            assert '"object":"chat.completion"' in await said_by("sh", "-c", curl)

        demo.send(signal.SIGINT)
        assert await demo.ended() == 0
    assert (demo.err.text, demo.out.lines[-1]) == ("", "Ending.")
    assert list(tmp_path.glob("orch-demo-*")) == []
    assert not connects(port)


def pasted(out: str) -> tuple[str, str]:
    """The two snippets, as somebody copies them."""
    found = re.search(r"Paste this \(Python\):\n(.*?)\n\nor this:\n(.*?)\n\n", out, re.DOTALL)
    assert found, out
    return textwrap.dedent(found[1]), textwrap.dedent(found[2])


async def said_by(program: str, *arguments: str) -> str:
    """What a program that does well prints."""
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_taken_port_is_named_with_another_to_try(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        code, out, err = await ran("demo", "--exit", "--port", str(port), cwd=tmp_path)

    assert (code, out) == (2, "")
    assert re.fullmatch(
        rf"orch: port {port} on 127\.0\.0\.1 cannot be had \(Address already in use by process .+\); "
        r"choose another, as in --port \d+",
        err,
    )
