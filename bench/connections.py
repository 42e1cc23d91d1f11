"""Memory of the proxy per open connection: on which nothing came yet, idle after an answer, with half a head.

``python bench/connections.py [--count 2000]``.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
from pathlib import Path

from processes import Process, free_port, started, wait_for_port

CONFIG = """
store: sqlite:///orch.db
server: {{listen: "127.0.0.1:{port}"}}
limits: {{head_s: 600, connections_max: 10000}}
"""
KINDS = {
    "silent": b"",
    "idle after an answer": b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "half a head of 1 KiB": b"GET /livez HTTP/1.1\r\nhost: x\r\na: " + b"b" * 1024,
}


async def grown_kb(proxy: Process, port: int, begin: bytes, count: int) -> float:
    """KiB a connection while ``count`` are open. The proxy answers another call after the last: it has seen all."""
    before = proxy.rss_mb
    connections = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begin)
        if begin.endswith(b"\r\n\r\n"):
            await reader.readuntil(b"\r\n\r\n")
        connections.append(writer)
    reader, last = await asyncio.open_connection("127.0.0.1", port)
    last.write(KINDS["idle after an answer"])
    await reader.readuntil(b"\r\n\r\n")
    grown = proxy.rss_mb - before
    for writer in (*connections, last):
        writer.close()
    return grown * 1024 / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("connections are              KiB each")
    for kind, begin in KINDS.items():
        with tempfile.TemporaryDirectory() as directory:
            cwd, port = Path(directory), free_port()
            (cwd / "config.yaml").write_text(CONFIG.format(port=port))
            with started("-m", "proxy", "serve", cwd=cwd) as proxy:
                wait_for_port(port)
                print(f"{kind:28} {asyncio.run(grown_kb(proxy, port, begin, count)):8.1f}", flush=True)


if __name__ == "__main__":
    main()
