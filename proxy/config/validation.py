"""Validation: a tree against a settings class, every misfit told at its place and in the operator's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.settings import Settings
from proxy.config.tree import Location, Node, Place, child, find, path_text, place_of, plain, problem_at
from proxy.errors import Problem
from proxy.policy.naming import did_you_mean, listing
from proxy.wording import words

INPUT_CHARS_MAX = 40

S = TypeVar("S", bound=Settings)
Schema = Mapping[str, Any]

# Only what was meant as a scalar is shown again; a scalar where a mapping belongs may be a key that was put one level too high.
_SHOWS_INPUT = ("string_", "int_", "float_", "bool_", "decimal_", "literal_", "enum", "greater_", "less_")


def validate(shape: type[S], node: Node, problems: list[Problem], *, prefix: Location = ()) -> S | None:
    """The settings, or None with every problem noted. ``prefix`` is where ``node`` stands, for the path in messages."""
    try:
        return shape.model_validate(plain(node))
    except ValidationError as error:
        misfits = error.errors(include_url=False)
    schema = shape.model_json_schema()
    told: dict[tuple[Place, str], list[str]] = {}
    for misfit in misfits:
        location = _real(misfit["loc"], node)
        if find(node, location).refused or _follows(misfit, misfits):
            continue
        place, path, message = _told(misfit, location, node, schema)
        told.setdefault((place, path_text((*prefix, *path))), []).append(message)
    # A field that may be this or that fails once for each: one problem that names both.
    problems += [
        problem_at(place, path, " or ".join(dict.fromkeys(messages))) for (place, path), messages in told.items()
    ]
    return None


def _follows(misfit: ErrorDetails, misfits: Sequence[ErrorDetails]) -> bool:
    """A list is also too short where one of its items is wrong."""
    loc = misfit["loc"]
    return misfit["type"] == "too_short" and any(
        other is not misfit and other["loc"][: len(loc)] == loc for other in misfits
    )


def _real(loc: tuple[int | str, ...], node: Node) -> Location:
    """The part of pydantic's location that is in the file: names of union members and of key checks are not."""
    location: list[str | int] = []
    for part in loc:
        below = child(node, part)
        if below is not None:
            location.append(part)
            node = below
    return tuple(location)


def _told(misfit: ErrorDetails, location: Location, node: Node, schema: Schema) -> tuple[Place, Location, str]:
    kind = misfit["type"]
    if kind == "missing":
        return place_of(node, location), (*location, misfit["loc"][-1]), "is missing: add it"
    at = find(node, location)
    if kind == "extra_forbidden":
        known = sorted({name for place in _at(schema, node, location[:-1]) for name in place.get("properties", ())})
        hint = did_you_mean(str(location[-1]), known) or f": remove it, or use one of {listing(known)}"
        return _key_place(node, location), location, f"unknown key{hint}"
    if misfit["loc"][-1:] == ("[key]",):
        return _key_place(node, location), location, words(misfit)
    if at.value is None:
        return place_of(node, location), location, "is empty: give it a value, or remove the key"
    secret = any(place.get("writeOnly") for place in _at(schema, node, location))
    shown = "" if secret or at.written is not None else _shown(misfit, at.value)
    return place_of(node, location), location, words(misfit) + shown


def _shown(misfit: ErrorDetails, given: object) -> str:
    """What was given, where it is short and no secret; for a choice also what was probably meant."""
    text = str(given).lower() if isinstance(given, bool) else repr(given)  # as YAML writes it
    if not misfit["type"].startswith(_SHOWS_INPUT) or not isinstance(given, str | int | float):
        return ""
    shown = f", not {text}" if len(text) <= INPUT_CHARS_MAX else ""
    if misfit["type"] != "literal_error":
        return shown
    choices = re.findall(r"'([^']*)'", str(misfit.get("ctx", {}).get("expected")))
    return shown + did_you_mean(str(given), choices)


def _key_place(node: Node, location: Location) -> Place:
    above = find(node, location[:-1])
    return above.keys.get(str(location[-1]), above.place)


def _at(schema: Schema, node: Node, location: Location) -> list[Schema]:
    """The JSON schemas that may apply at ``location``."""
    found = list(_members(schema, schema))
    for part in location:
        found = [member for above in found for below in _below(above, part) for member in _members(below, schema)]
    return found


def _members(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schema itself with its reference followed, and the members of a union."""
    if reference := schema.get("$ref"):
        schema = root["$defs"][reference.rpartition("/")[2]]
    yield schema
    for union in ("anyOf", "oneOf", "allOf"):
        for member in schema.get(union, ()):
            yield from _members(member, root)


def _below(schema: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        below = schema.get("items")
    else:
        below = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    if isinstance(below, Mapping):
        yield below
