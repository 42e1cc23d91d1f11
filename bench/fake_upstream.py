"""A fast fake of an OpenAI-compatible server for the benchmarks: one canned answer, streamed or not.

``python bench/fake_upstream.py PORT``
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

EVENTS = 50


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


USAGE = {"prompt_tokens": 10, "completion_tokens": EVENTS, "total_tokens": 10 + EVENTS}
WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * EVENTS}, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }
).encode()
WHOLE_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(WHOLE),
    WHOLE,
)
PIECES = [
    _event({"role": "assistant", "content": ""}),
    *[_event({"content": "word "}) for _ in range(EVENTS)],
    _event({}, "stop"),
    b"data: "
    + json.dumps({"id": "c", "object": "x", "created": 1, "model": "m", "choices": [], "usage": USAGE}).encode()
    + b"\n\n",
    b"data: [DONE]\n\n",
]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAMED = [HEAD, *[b"%x\r\n%s\r\n" % (len(piece), piece) for piece in PIECES], b"0\r\n\r\n"]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(size)
            if b'"stream":true' not in body:
                writer.write(WHOLE_ANSWER)
                continue
            for piece in STREAMED:
                writer.write(piece)
                await asyncio.sleep(0)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
