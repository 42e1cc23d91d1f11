"""Bodies that are kept: what a call asked and was answered, shortened and masked, as text. Only when the operator wants it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.call import Call, Chunk, Cut, Handler, Head, How, Outcome, Reply
from proxy.dialect.body import dump
from proxy.dialect.sse import Framer, encode, payload
from proxy.journal.masks import Masks
from proxy.journal.port import Bodies
from proxy.journal.retention import Keep, Retention, Rules

KEPT_BYTES_MAX = 65_536
"""Of a request, and of an answer."""

STRING_CHARS_MAX = 16_384
VALUES_MAX = 10_000
CUT = "[cut]"


def listening(handler: Handler, retention: Retention) -> Handler:
    """The handler, with what its calls are answered noted in their trace while the rules want bodies kept."""

    async def handle(call: Call) -> Outcome:
        if retention.rules.bodies is Keep.OFF:
            return await handler(call)
        call.trace.said = said = bytearray()
        return await handler(call.replying_to(_Listening(call.reply, said)))

    return handle


class _Listening:
    """A layer of reply that notes what it passes on, up to one byte more than is kept: that it was longer."""

    def __init__(self, reply: Reply, said: bytearray) -> None:
        self._reply = reply
        self._said = said

    @property
    def started(self) -> bool:
        return self._reply.started

    @property
    def cut(self) -> Cut | None:
        return self._reply.cut

    async def open(self, head: Head) -> None:
        await self._reply.open(head)

    async def send(self, chunk: Chunk) -> None:
        self._said += chunk.raw[: KEPT_BYTES_MAX + 1 - len(self._said)]
        await self._reply.send(chunk)


def bodies(call: Call, rules: Rules) -> Bodies | None:
    """What is kept of a call that has ended; None: nothing is wanted."""
    answered = call.trace.ending is not None and call.trace.ending.how is How.ANSWERED
    if rules.bodies is Keep.OFF or (rules.bodies is Keep.ERRORS and answered):
        return None
    request, request_cut = _request(call, rules.masks)
    response, response_cut = _response(call, rules.masks)
    return Bodies(
        call_id=call.id, request=request, response=response, request_cut=request_cut, response_cut=response_cut
    )


def _request(call: Call, masks: Masks) -> tuple[str | None, bool]:
    if not call.body:
        return None, False  # refused before it was read
    value, cut = shortened(dict(call.body))
    text, longer = _text(dump(masks.cover(value)), masks)
    return text, cut or longer


def _response(call: Call, masks: Masks) -> tuple[str | None, bool]:
    if not call.trace.said:
        return None, False
    raw, cut = bytes(call.trace.said[:KEPT_BYTES_MAX]), len(call.trace.said) > KEPT_BYTES_MAX
    if masks.paths:
        raw = b"".join(_covered_events(raw, masks)) if call.stream else _covered(raw, masks)
    text, longer = _text(raw, masks)
    return text, cut or longer


def _text(raw: bytes, masks: Masks) -> tuple[str, bool]:
    """The bytes as a text of at most KEPT_BYTES_MAX, and whether there was more."""
    text = masks.blot(raw.decode("utf-8", "replace")).encode()
    return text[:KEPT_BYTES_MAX].decode("utf-8", "ignore"), len(text) > KEPT_BYTES_MAX


def _covered_events(raw: bytes, masks: Masks) -> Iterator[bytes]:
    """The whole events of a stream; a last one that was cut is left out, for what cannot be read cannot be masked."""
    for event in Framer(len(raw)).feed(raw):
        line = payload(event)
        if line is not None:
            yield encode(line if line == b"[DONE]" else _covered(line, masks))


def _covered(raw: bytes, masks: Masks) -> bytes:
    try:
        return dump(masks.cover(orjson.loads(raw)))
    except ValueError:
        return CUT.encode()


def shortened(value: Any) -> tuple[Any, bool]:
    """A copy in which long strings are cut and at most VALUES_MAX values stand, and whether anything is missing."""
    whole: list[Any] = [value]
    waiting: list[tuple[Any, Any]] = [(whole, 0)]
    left, cut = VALUES_MAX, False
    while waiting:
        container, key = waiting.pop()
        found = container[key]
        left -= 1
        if left < 0 or (isinstance(found, str) and len(found) > STRING_CHARS_MAX):
            container[key], cut = found[:STRING_CHARS_MAX] + CUT if isinstance(found, str) and left >= 0 else CUT, True
        elif isinstance(found, dict):
            container[key] = copy = dict(found)
            waiting.extend((copy, name) for name in reversed(copy))
        elif isinstance(found, list):
            container[key] = items = list(found)
            waiting.extend((items, n) for n in reversed(range(len(items))))
    return whole[0], cut
