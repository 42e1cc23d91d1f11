"""The tree of an operator's file: plain values that know where they stand, and how a place in it is written in a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import Problem

Location = tuple[str | int, ...]
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. ``keys`` are the places of a mapping's keys.

    ``written`` is the text in the file when the value came from the environment. ``refused``: a problem was already
    reported here, so nobody needs to hear what its stand-in does not fit.
    """

    place: Place
    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    keys: Mapping[str, Place] = field(default_factory=dict)
    written: str | None = None
    refused: bool = False


def plain(node: Node) -> Any:
    """The value without its places: dicts, lists and scalars."""
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


def child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, Mapping) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, tuple) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


def find(node: Node, location: Location) -> Node:
    """The node at ``location``, or the last one on the way there."""
    for part in location:
        below = child(node, part)
        if below is None:
            return node
        node = below
    return node


def place_of(node: Node, location: Location) -> Place:
    """Where to point: at a scalar itself, at the key of a list or mapping, else at the last thing on the way there."""
    place = node.place
    for part in location:
        below = child(node, part)
        if below is None:
            return node.keys.get(str(part), place)
        scalar = not isinstance(below.value, tuple | Mapping)
        place = below.place if scalar else node.keys.get(str(part), below.place)
        node = below
    return place


def path_text(location: Location) -> str:
    """``models.gpt-4o.deployments[0].upstream``; names with dots in quotes: ``models["gpt-4.1"]``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w/:@+<-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def problem_at(place: Place, path: str, message: str) -> Problem:
    return Problem(place.file, place.line, place.column, path, message)
