"""Vocabulary: the values a label may take. A client chooses names freely, so only known ones are written out, and so many."""

from __future__ import annotations

from collections.abc import Iterable

NONE = "none"
OTHER = "other"


class Vocabulary:
    """Names as label values: those allowed, up to ``distinct_max`` of them as they come up; any other one is ``other``.

    What is known from a configuration stays known when it is replaced: calls that began under it still end.
    """

    def __init__(self, distinct_max: int) -> None:
        self._distinct_max = distinct_max
        self._allowed: set[str] = set()
        self._written: dict[str, str] = {}

    def allow(self, names: Iterable[str]) -> None:
        self._allowed.update(names)

    def label(self, name: str | None) -> str:
        """The name itself, ``other``, or ``none`` where there is no name."""
        if not name:
            return NONE
        return self._written.get(name) or self._first(name)

    def _first(self, name: str) -> str:
        if name not in self._allowed or len(self._written) >= self._distinct_max:
            return OTHER
        self._written[name] = name
        return name


class OpenVocabulary(Vocabulary):
    """Words of our own code, which need not be told beforehand; the cap holds all the same."""

    def _first(self, name: str) -> str:
        self._allowed.add(name) if len(self._written) < self._distinct_max else None
        return super()._first(name)
