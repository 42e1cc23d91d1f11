"""What a running proxy has live is asked of it, and of nobody else."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from proxy.cli.live import live_policy
from proxy.journal import lock


def answering(listener: socket.socket, answer: bytes) -> threading.Thread:
    def answer_one() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=answer_one)
    thread.start()
    return thread


def http(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (http('{"status": "ready", "policy": "abc"}'), "abc"),
        (http("hello"), None),
        (http("[]"), None),
        (http('{"status": "ready"}'), None),
        (b"220 mail.example ESMTP\r\n", None),
        (b"", None),
    ],
)
def test_whoever_listens_there_has_to_answer_as_a_proxy(tmp_path: Path, answer: bytes, version: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = answering(listener, answer)
        with lock.locked(tmp_path / "orch.db", socket=None, owner="x"):
            told = live_policy(tmp_path / "orch.db", f"0.0.0.0:{listener.getsockname()[1]}")
        thread.join()
    assert told == version


def test_where_no_proxy_runs_nobody_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        assert live_policy(tmp_path / "orch.db", f"127.0.0.1:{listener.getsockname()[1]}") is None
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_proxy_that_listens_elsewhere_is_not_found(tmp_path: Path) -> None:
    with socket.socket() as bound, lock.locked(tmp_path / "orch.db", socket=None, owner="x"):
        bound.bind(("127.0.0.1", 0))
        assert live_policy(tmp_path / "orch.db", f"127.0.0.1:{bound.getsockname()[1]}") is None
