"""``orch demo``: the promised calls with the promised figures, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from proxy.cli import demo, show
from proxy.cli.scenes import Seen
from tests.cli.test_child import free_port

ROOT = str(Path(__file__).resolve().parents[2])


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = os.environ | {"PYTHONPATH": ROOT, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "proxy", "demo", "--port", str(free_port()), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=tmp_path
    )


def test_the_demo_shows_every_promise_and_leaves_nothing(tmp_path: Path) -> None:
    out, err = (process := started(tmp_path, "--exit")).communicate()
    assert (process.returncode, err) == (0, "")
    assert out.count("answered by gpt-4o, energy charged 10") == 3
    assert "answered by gpt-4o-mini, energy charged 3, left 2" in out
    assert "refused: Insufficient energy. Required: 3, Available: 2" in out
    assert "orch ledger verify: ok" in out
    assert 'base_url="http://127.0.0.1:' in out
    assert list(tmp_path.iterdir()) == []


def test_in_json_it_is_one_object(tmp_path: Path) -> None:
    out, _ = (process := started(tmp_path, "--exit", "--json")).communicate()
    assert process.returncode == 0
    told = json.loads(out)
    assert told["ok"] is True
    assert [call["user"] for call in told["calls"]] == ["ana"] * 4 + ["ben"]
    assert all(call["as_expected"] for call in told["calls"])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_on_until_it_is_told_to_end_and_takes_its_proxy_with_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    assert any("Serving on" in line for line in iter(process.stdout.readline, ""))
    children = psutil.Process(process.pid).children()
    assert len(children) == 1
    process.send_signal(how)
    process.communicate()
    assert process.returncode == 0
    assert not psutil.pid_exists(children[0].pid)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _, err = (process := started(tmp_path, "--port", str(taken.getsockname()[1]))).communicate()
    assert process.returncode == 2
    assert "--port" in err
    assert err.count("\n") == 1


def test_what_came_out_otherwise_is_said_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    expected = Seen(asked="x", model="gpt-4o", charged=10, left=15)
    assert demo.Telling(show.Form.TEXT).call("ana", expected, Seen(asked="x", model="gpt-4o", charged=10, left=14)) == 1
    assert "WRONG" in capsys.readouterr().err
    assert demo.Telling(show.Form.TEXT).call("ana", expected, expected) == 0
