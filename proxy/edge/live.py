"""The configuration in force: a call keeps the version it began with, new calls take the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proxy.call import Handler, Ports
from proxy.config.settings import Limits
from proxy.policy.prices import PriceList


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One loaded configuration, ready to serve."""

    handler: Handler
    ports: Ports
    limits: Limits
    prices: PriceList | None


class InUse:
    """A version and the calls that are on it; ``idle`` is set while there are none."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.idle = asyncio.Event()
        self.idle.set()
        self._calls = 0

    @contextmanager
    def hold(self) -> Iterator[Version]:
        self._calls += 1
        self.idle.clear()
        try:
            yield self.version
        finally:
            self._calls -= 1
            if not self._calls:
                self.idle.set()


class Live:
    """Where the edge finds the version in force; a reload swaps it in one step."""

    def __init__(self, version: Version) -> None:
        self._current = InUse(version)

    @property
    def version(self) -> Version:
        return self._current.version

    def using(self) -> InUse:
        return self._current

    def swap(self, version: Version) -> InUse:
        """Put ``version`` in force; returns the one before it, which may still be in use."""
        before, self._current = self._current, InUse(version)
        return before
