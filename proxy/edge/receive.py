"""Receiving: read a request's body under its caps, refusing while it arrives rather than after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive, Scope

from proxy.config.settings import Limits
from proxy.errors import BadRequest, BodyTooLarge, Overloaded, UnsupportedMedia


class ClientGone(Exception):
    """The client hung up before its request was whole: nobody is left to answer."""


class BodyBudget:
    """All request bodies in memory together, in bytes; over ``bytes_max`` a new one is refused."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._taken = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        share = Share(self)
        try:
            yield share
        finally:
            self._taken -= share.taken

    def take(self, count: int) -> None:
        if self._taken + count > self.bytes_max:
            raise Overloaded(
                f"Requests being served hold {self.bytes_max} bytes together (bodies_bytes_max). Try again shortly."
            )
        self._taken += count


class Share:
    """What one request has taken of the budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, count: int) -> None:
        self._budget.take(count)
        self.taken += count


async def read_body(scope: Scope, receive: Receive, *, limits: Limits, share: Share) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is known to be too large, UnsupportedMedia, Overloaded, ClientGone."""
    _check_head(scope, limits)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limits.body_bytes_max:
            raise _too_large(limits)
        share.take(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _check_head(scope: Scope, limits: Limits) -> None:
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMedia(
                f"The body is sent with content-encoding {value.decode('latin-1')!r}. Send it uncompressed."
            )
        if name == b"content-length" and not value.isdigit():
            raise BadRequest(f"Content-Length {value.decode('latin-1')!r} is not a number.")
        if name == b"content-length" and int(value) > limits.body_bytes_max:
            raise _too_large(limits)


def _too_large(limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request body is larger than {limits.body_bytes_max} bytes (body_bytes_max). Send a smaller one."
    )
