"""What the benchmarks share: a proxy and a fake upstream as processes of their own, and what the kernel says they used."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_WAIT_S = 30


@dataclass(frozen=True, slots=True)
class Process:
    """A child we started. ``cpu_s`` is its user and system time, ended children included, ``rss_mb`` its memory now."""

    child: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S

    @property
    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def started(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """``python <arguments>`` from the checkout; stopped by SIGTERM and waited for at the end."""
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})}
    child = subprocess.Popen([sys.executable, *arguments], cwd=cwd, env=known, stdout=subprocess.DEVNULL)
    try:
        yield Process(child)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=READY_WAIT_S)


def wait_for_port(port: int) -> None:
    give_up_at = time.monotonic() + READY_WAIT_S
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port}")


def orch(*arguments: str, cwd: Path) -> str:
    """Run a command of the proxy's and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
