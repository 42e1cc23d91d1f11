"""CPU of the proxy per call: passthrough to a fake upstream on loopback, whole and streamed, at 1 and 64 calls at once.

``python bench/gateway.py [--calls 2000]``. Quote the CPU per call: wall-clock figures of a busy machine say little.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import ROOT, Process, free_port, orch, started, wait_for_port

CONFIG = """
store: sqlite:///orch.db
durability: {durability}
server: {{listen: "127.0.0.1:{port}"}}
upstreams:
  fake: {{base_url: "http://127.0.0.1:{upstream}/v1", api_key: sk-none, provider: openai}}
models:
  gpt-4o-mini: {{deployments: [{{upstream: fake}}]}}
"""
BODY = b'{"model":"gpt-4o-mini",%s"messages":[{"role":"user","content":"Write a message to my prospect John."}]}'


@contextmanager
def proxied(durability: str) -> Iterator[tuple[Process, int, str]]:
    """A proxy in front of the fake upstream: its process, its port, a key with plenty of energy."""
    with tempfile.TemporaryDirectory() as directory:
        cwd, port, upstream = Path(directory), free_port(), free_port()
        (cwd / "config.yaml").write_text(CONFIG.format(durability=durability, port=port, upstream=upstream))
        with (
            started(str(ROOT / "bench/fake_upstream.py"), str(upstream), cwd=cwd),
            started("-m", "proxy", "serve", cwd=cwd) as proxy,
        ):
            wait_for_port(upstream)
            wait_for_port(port)
            orch("users", "create", "bench", "--energy", "1000000000", cwd=cwd)
            yield proxy, port, orch("keys", "create", "--user", "bench", cwd=cwd).strip()


async def load(port: int, key: str, *, body: bytes, calls: int, at_once: int) -> None:
    """``calls`` calls over ``at_once`` kept connections; each must be answered 200."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await _body(reader, answer.lower())
        writer.close()

    await asyncio.gather(*(client(calls // at_once) for _ in range(at_once)))


async def _body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"content-length:" in head:
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    print("durability  answer    at once   CPU ms/call   calls/s   MB")
    for durability in ("strict", "relaxed"):
        with proxied(durability) as (proxy, port, key):
            for answer, extra in (("whole", b""), ("streamed", b'"stream":true,')):
                for at_once in (1, 64):
                    asyncio.run(load(port, key, body=BODY % extra, calls=max(at_once, calls // 10), at_once=at_once))
                    cpu, wall = proxy.cpu_s, time.monotonic()
                    asyncio.run(load(port, key, body=BODY % extra, calls=calls, at_once=at_once))
                    cpu, wall = proxy.cpu_s - cpu, time.monotonic() - wall
                    figures = f"{cpu / calls * 1000:11.3f} {calls / wall:9.0f} {proxy.rss_mb:5.0f}"
                    print(f"{durability:11} {answer:9} {at_once:7}   {figures}", flush=True)


if __name__ == "__main__":
    main()
