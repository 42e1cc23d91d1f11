"""Masks: what is taken out of a body before it is kept. A path into the JSON (``$.messages[*].content``) or a regex."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

REDACTED = "[redacted]"

_STEP = re.compile(
    r"\.\.(?P<deep>[\w-]+)|\.(?P<name>[\w-]+)|\[(?P<number>\d+)\]|\['(?P<quoted>[^']+)'\]|(?P<every>\.\*|\[\*\])"
)

Place = tuple[Any, Any]
"""A list or an object, and the index or the key of one value in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """From a place to places within its value: a name, a number, every one (None), or a name at any depth."""

    key: str | int | None
    deep: bool = False

    def within(self, value: Any) -> Iterator[Place]:
        if self.deep:
            yield from self._anywhere(value)
        elif isinstance(value, dict):
            keys = list(value) if self.key is None else [self.key] if self.key in value else []
            yield from ((value, key) for key in keys)
        elif isinstance(value, list):
            yield from ((value, n) for n in range(len(value)) if self.key in (None, n))

    def _anywhere(self, value: Any) -> Iterator[Place]:
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if isinstance(found, dict) and self.key in found:
                yield found, self.key
            if isinstance(found, dict | list):
                waiting.extend(found.values() if isinstance(found, dict) else found)


@dataclass(frozen=True, slots=True)
class Masks:
    """What is to be taken out."""

    paths: tuple[tuple[Step, ...], ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()

    def cover(self, value: Any) -> Any:
        """The value with everything on the paths replaced, in place but for the value itself."""
        whole = [value]
        for path in self.paths:
            for container, key in list(_places(whole, path)):
                container[key] = REDACTED
        return whole[0]

    def blot(self, text: str) -> str:
        """The text with everything the patterns match replaced."""
        for pattern in self.patterns:
            text = pattern.sub(REDACTED, text)
        return text


def _places(whole: list[Any], path: Sequence[Step]) -> list[Place]:
    places: list[Place] = [(whole, 0)]
    for step in path:
        places = [place for container, key in places for place in step.within(container[key])]
    return places


def masks(texts: Sequence[str]) -> Masks:
    """What begins with ``$`` is a path, all else a regex. Raises ValueError that says what is wrong with which."""
    paths = tuple(_path(text) for text in texts if text.startswith("$"))
    return Masks(paths, tuple(_pattern(text) for text in texts if not text.startswith("$")))


def _path(text: str) -> tuple[Step, ...]:
    steps, end = [], 1
    while end < len(text):
        match = _STEP.match(text, end)
        if match is None:
            raise ValueError(
                f"{text!r} is no path from its character {end + 1} on; paths are written like "
                "$.messages[*].content, $.tools[0].function, $..email"
            )
        steps.append(_step(match))
        end = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["deep"] is not None:
        return Step(match["deep"], deep=True)
    if match["number"] is not None:
        return Step(int(match["number"]))
    return Step(match["name"] if match["name"] is not None else match["quoted"])


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if pattern.match(""):
        raise ValueError(f"{text!r} matches the empty text, so it would stand between all characters")
    return pattern
