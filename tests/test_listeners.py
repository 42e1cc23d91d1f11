"""Who listens on a port: found where it may be read, and no secret of its command line with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.listeners import listener

SERVES = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"


def test_the_process_that_listens_is_named() -> None:
    command = [sys.executable, "-c", SERVES, "word", "--key=sk-canary", "later"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        who = listener(int(child.stdout.readline()))
        child.communicate()
    assert who is not None
    assert who.startswith(f"process {child.pid} ({Path(sys.executable).name} -c")
    assert "canary" not in who


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_it_may_be_this_process_on_either_kind_of_address(family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        assert str(listener(port)).startswith(f"process {os.getpid()} (")
    assert listener(port) is None


def test_where_nothing_can_be_read_nobody_is_named(tmp_path: Path) -> None:
    assert listener(80, proc=tmp_path) is None
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("  sl  local_address ...\n   0: 0100007F:0050 00000000:0000 0A x x x x x 4711\n")
    assert listener(80, proc=tmp_path) is None
    (tmp_path / "12" / "fd").mkdir(parents=True)
    (tmp_path / "12" / "fd" / "3").symlink_to("socket:[4711]")
    assert listener(80, proc=tmp_path) == "process 12 (unknown)"
