"""Receiving a body under its caps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from starlette.types import Message

from proxy.config.settings import Limits
from proxy.edge.receive import BodyBudget, ClientGone, read_body
from proxy.errors import BadRequest, BodyTooLarge, Overloaded, UnsupportedMedia

LIMITS = Limits(body_bytes_max=1024)


class Arriving:
    """An ASGI receive that hands out these messages and counts how many were asked for."""

    def __init__(self, parts: Sequence[bytes], *, ends: bool = True) -> None:
        self.asked = 0
        last = len(parts) - 1
        self._messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": index < last or not ends}
            for index, part in enumerate(parts)
        ]

    async def __call__(self) -> Message:
        self.asked += 1
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}


async def _read(arriving: Arriving, *headers: tuple[bytes, bytes], budget: BodyBudget | None = None) -> bytes:
    with (budget or BodyBudget(10_000)).share() as share:
        return await read_body({"headers": headers}, arriving, limits=LIMITS, share=share)


async def test_a_body_in_parts_is_joined() -> None:
    assert await _read(Arriving([b"ab", b"", b"c"])) == b"abc"


async def test_too_large_a_body_is_refused_while_it_arrives() -> None:
    arriving = Arriving([b"x" * 1024, b"y", b"z" * 10_000])

    with pytest.raises(BodyTooLarge, match="1024 bytes"):
        await _read(arriving)

    assert arriving.asked == 2


async def test_a_body_that_says_it_is_too_large_is_not_read_at_all() -> None:
    arriving = Arriving([b"x"])

    with pytest.raises(BodyTooLarge):
        await _read(arriving, (b"content-length", b"1025"))

    assert arriving.asked == 0


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate, gzip"])
async def test_a_compressed_body_is_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="uncompressed"):
        await _read(Arriving([b"x"]), (b"content-encoding", encoding))


async def test_identity_is_no_compression() -> None:
    assert await _read(Arriving([b"x"]), (b"content-encoding", b"identity")) == b"x"


async def test_a_content_length_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest):
        await _read(Arriving([b"x"]), (b"content-length", b"-1"))


async def test_a_client_that_leaves_before_its_body_is_whole_is_gone() -> None:
    with pytest.raises(ClientGone):
        await _read(Arriving([b"x"], ends=False))


async def test_all_bodies_together_have_a_cap_and_give_back_what_they_took() -> None:
    budget = BodyBudget(100)
    with budget.share() as first:
        await read_body({"headers": []}, Arriving([b"x" * 80]), limits=LIMITS, share=first)
        with pytest.raises(Overloaded, match="bodies_bytes_max"):
            await _read(Arriving([b"y" * 30]), budget=budget)

    assert await _read(Arriving([b"y" * 100]), budget=budget) == b"y" * 100
