"""A proxy as a child process: started, waited for until it is ready, ended and reaped on every way out."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import BadRequest, OrchError
from proxy.listeners import listener

HOST = "127.0.0.1"
READY_S = 60.0
POLL_S = 0.05
PROBE_S = 2.0
END_S = 40.0
LAST_WORDS_BYTES = 400


class DidNotStart(OrchError):
    """The child ended, or was not ready in time."""

    reason = "did_not_start"


@dataclass(frozen=True, slots=True)
class Child:
    """A running proxy. ``log`` is the file that it writes to."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The base URL for an OpenAI SDK."""
        return f"http://{HOST}:{self.port}/v1"

    def wait(self) -> None:
        """Return when the proxy has ended."""
        self.process.wait()

    def last_words(self) -> str:
        """The end of its log, as one line."""
        return " ".join(self.log.read_text(errors="replace")[-LAST_WORDS_BYTES:].split())


@contextmanager
def serving_child(config: Path, port: int) -> Iterator[Child]:
    """A proxy on ``config`` that is ready; ended by SIGTERM, then reaped, when the body is left.

    Raises BadRequest when the port is taken, DidNotStart when it does not get ready.
    """
    _check_free(port)
    log = config.with_name("proxy.log")
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--listen", f"{HOST}:{port}"]
    # A session of its own: Ctrl-C reaches only us, and we end it in order.
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own program)
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(), start_new_session=True
        )
    child = Child(process, port, log)
    try:
        _wait_until_ready(child)
        yield child
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """Ours, with this package importable wherever the command was started."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _check_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            by = f" by {who}" if error.errno == errno.EADDRINUSE and (who := listener(port)) else ""
            other = port % 65535 + 1
            raise BadRequest(
                f"port {port} on {HOST} cannot be had ({error.strerror}{by}); choose another, as in --port {other}"
            ) from error


def _wait_until_ready(child: Child) -> None:
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        if child.process.poll() is not None:
            raise DidNotStart(f"the proxy did not start: {child.last_words()}")
        if _ready(child.port):
            return
        time.sleep(POLL_S)
    raise DidNotStart(f"the proxy was not ready within {READY_S:.0f} s: {child.last_words()}")


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # too long, or Ctrl-C again: the ledger survives a kill
        process.kill()
        process.wait()
