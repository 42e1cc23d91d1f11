"""Start to first 200: the CPU time and memory of ``orch serve`` on embedded defaults, LiteLLM not loaded.

``python bench/start.py [--runs 5]``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import urllib.request
from pathlib import Path

from processes import Process, free_port, orch, started, wait_for_port


def once(cwd: Path) -> tuple[float, float]:
    """CPU seconds until the first answer, and megabytes of memory then."""
    port = free_port()
    with started("-m", "proxy", "serve", "--listen", f"127.0.0.1:{port}", cwd=cwd) as proxy:
        wait_for_port(port)
        key = orch("keys", "create", "--user", "bench", cwd=cwd).strip()
        _ask(port, key)
        return _measured(proxy)


def _measured(proxy: Process) -> tuple[float, float]:
    return proxy.cpu_s, proxy.rss_mb


def _ask(port: int, key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}',
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for title, fresh in (("first start (makes the store)", True), ("later start", False)):
        with tempfile.TemporaryDirectory() as kept:
            if not fresh:
                once(Path(kept))
            figures = []
            for _ in range(runs):
                with tempfile.TemporaryDirectory() as empty:
                    figures.append(once(Path(empty if fresh else kept)))
        cpu_s, rss_mb = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{title}: {cpu_s:.2f} s of CPU, {rss_mb:.0f} MB resident (median of {runs})")


if __name__ == "__main__":
    main()
