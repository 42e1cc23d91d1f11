"""Recorded answers: served in hostile TCP and HTTP pieces, and what of a stream the proxy changes by what is documented."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from proxy.testing import Exchange, Script, Step, head

DONE = b"data: [DONE]\n\n"

ALL: Sequence[int] = (2**30,)
BYTES: Sequence[int] = (1,)
RAGGED: Sequence[int] = (1, 2, 3, 5, 8, 13, 21, 34, 7)


def recorded(pattern: str) -> list[Path]:
    found = sorted((Path(__file__).parent / "recorded").glob(pattern))
    assert found, f"no recording matches {pattern}"
    return found


def cut(raw: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """``raw`` in pieces of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(raw):
            return
        yield raw[start : start + size]
        start += size


def in_segments(raw: bytes, sizes: Sequence[int]) -> Step:
    """These bytes, each piece written on its own after the client had its turn to read the one before."""

    async def step(exchange: Exchange) -> None:
        for piece in cut(raw, sizes):
            await exchange.write(piece)
            await asyncio.sleep(0)

    return step


def in_pieces(body: bytes, sizes: Sequence[int], *, kind: str = "text/event-stream") -> Script:
    """A body in HTTP chunks whose ends fall anywhere, and these in TCP segments whose ends fall elsewhere."""
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut(body, [2 * size for size in sizes]))
    opening = head(200, {"content-type": kind, "transfer-encoding": "chunked"})
    return [opening, in_segments(chunked + b"0\r\n\r\n", sizes)]


def events_of(stream: bytes) -> list[bytes]:
    """Whole events with their blank lines; a last one that lacks it is given one."""
    found = re.findall(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", stream, re.DOTALL)
    return [sent if sent.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) else sent + b"\n\n" for sent in found]


def payload_of(sent: bytes) -> bytes | None:
    lines = re.split(rb"\r\n|\n|\r", sent.removeprefix("\ufeff".encode()))
    found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return b"\n".join(found) if found else None


def is_usage(sent: bytes) -> bool:
    payload = payload_of(sent)
    if not payload or payload == b"[DONE]":
        return False
    said = json.loads(payload.decode(errors="replace"))
    return not said.get("choices") and isinstance(said.get("usage"), dict)


def documented(direct: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """What is left of a stream that came directly, and its usage chunk.

    Left out: the usage chunk (its place is the end), events with empty data, [DONE] (always written anew) and what follows it.
    An empty finish_reason is null.
    """
    kept, usage = [], None
    for sent in events_of(direct):
        payload = payload_of(sent)
        if payload == b"[DONE]":
            break
        if is_usage(sent):
            usage = json.loads(payload or b"")
        elif payload != b"":
            kept.append(sent)
    return b"".join(kept).replace(b'"finish_reason":""', b'"finish_reason":null'), usage


def exactly(value: Any) -> str:
    """JSON that tells 1 from 1.0 and from true, 0.0 from -0.0, and one 30-digit integer from the next."""
    return json.dumps(value, sort_keys=True)
