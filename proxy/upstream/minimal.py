"""Minimal: the smallest JSON value that a JSON Schema accepts, for answers that must fit one.

Knows what OpenAI's structured outputs allow (and a little more); keywords it does not know are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialect.body import dump

DEPTH_MAX = 32
ITEMS_MAX = 64
VALUES_MAX = 2_000
VALUE_BYTES = 256
CHARS_MAX = 1_000

_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal(schema: object) -> Any:
    """The value. Where the schema is not one, nests deeper than DEPTH_MAX or asks for more than VALUES_MAX, it is null."""
    return _Writer(schema).value(schema, DEPTH_MAX)


class _Writer:
    """Writes one value; ``root`` is where references point into."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._values_left = VALUES_MAX

    def value(self, schema: object, depth: int) -> Any:
        self._values_left -= 1  # a schema that refers to itself twice grows without end
        if not isinstance(schema, Mapping) or depth == 0 or self._values_left < 0:
            return None
        for name, pick in (("const", _itself), ("enum", _first), ("default", _itself)):
            if name in schema:
                return self._literal(pick(schema[name]))
        if "$ref" in schema:
            return self.value(_resolved(schema["$ref"], self._root), depth - 1)
        for name in ("anyOf", "oneOf", "allOf"):
            if schema.get(name):
                return self.value(_shallowest(schema[name]), depth - 1)
        return self._typed(schema, depth)

    def _literal(self, value: Any) -> Any:
        """The client's own value; a long one counts as many, or one repeated would fill the memory."""
        self._values_left -= len(dump({"value": value})) // VALUE_BYTES
        return value

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else None)
        kind = _first(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return [self.value(schema.get("items"), depth - 1) for _ in range(_at_least(schema, "minItems", ITEMS_MAX))]
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return _number(schema)
        return False if kind == "boolean" else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        known = properties if isinstance(properties, Mapping) else {}
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        fields: dict[str, Any] = {}
        for name in names:
            if self._values_left < 0:
                break
            self._values_left -= len(name) // VALUE_BYTES
            fields[name] = self.value(known.get(name), depth - 1)
        return fields


def _itself(value: Any) -> Any:
    return value


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


def _shallowest(schemas: Any) -> Any:
    """A scalar where there is one: a recursive schema ends in its scalars."""
    if not isinstance(schemas, list):
        return None
    scalars = [one for one in schemas if isinstance(one, Mapping) and one.get("type") not in ("object", "array", None)]
    return _first(scalars or schemas)


def _string(schema: Mapping[str, Any]) -> str:
    found = _FORMATS.get(str(schema.get("format")), "")
    return found.ljust(_at_least(schema, "minLength", CHARS_MAX), "x")


def _number(schema: Mapping[str, Any]) -> int | float:
    """0 where it is allowed, else the bound that is nearest to it."""
    low = _bound(schema, "minimum", "exclusiveMinimum", step=1)
    high = _bound(schema, "maximum", "exclusiveMaximum", step=-1)
    if low is not None and low > 0:
        return low
    return high if high is not None and high < 0 else 0


def _bound(schema: Mapping[str, Any], inclusive: str, exclusive: str, *, step: int) -> int | float | None:
    beyond = schema.get(exclusive)
    if type(beyond) in (int, float):
        return beyond + step  # type: ignore[operator]
    found = schema.get(inclusive)
    return found if type(found) in (int, float) else None


def _at_least(schema: Mapping[str, Any], name: str, most: int) -> int:
    least = schema.get(name, 0)
    return min(least, most) if type(least) is int and least > 0 else 0


def _resolved(ref: object, root: object) -> object:
    """What a reference inside the same document (``#/$defs/name``) points to."""
    found = root
    for step in str(ref).removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
