"""A proxy as a child process: ready before it is used, gone and reaped after."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proxy.cli.child import Child, DidNotStart, serving_child
from proxy.errors import BadRequest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadRequest, match=f"port {port} .*--port"), serving_child(tmp_path / "config.yaml", port):
            pass
    assert not (tmp_path / "proxy.log").exists()


def test_a_proxy_that_cannot_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("stor: sqlite:///x.db\n")
    with pytest.raises(DidNotStart, match=r"config\.yaml:1:1"), serving_child(config, free_port()):
        pass


def test_the_child_is_ready_while_the_body_runs_and_reaped_when_it_fails(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("store: sqlite:///orch.db\n")
    started: list[Child] = []
    with pytest.raises(ZeroDivisionError):
        use_and_fail(config, started)
    assert started[0].process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].process.pid, 0)


def use_and_fail(config: Path, started: list[Child]) -> None:
    with serving_child(config, free_port()) as child:
        started.append(child)
        socket.create_connection(("127.0.0.1", child.port)).close()
        raise ZeroDivisionError
