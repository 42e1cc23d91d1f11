"""Reference: settings described from their models, for the documentation and for ``orch policies kinds``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from proxy.config.settings import Settings

MIB = 1024 * 1024

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of settings in words: its name in YAML, what it takes, its default, what it is."""

    name: str
    takes: str
    default: str
    what: str


def described(shape: type[Settings]) -> Iterator[Setting]:
    """Every setting but ``kind``."""
    schema = shape.model_json_schema()
    for field, known in shape.model_fields.items():
        name = known.alias or field
        if field != "kind":
            takes = _takes(schema["properties"][name], schema)
            yield Setting(name, takes, _default(name, known), str(known.description))


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, Settings):
        return "none" if value is None else "see there"
    if value in ({}, ()):
        return "empty"
    if name.endswith("_bytes_max"):
        size = f"{value // MIB} MiB" if value >= MIB else f"{value // 1024} KiB"
        return f"`{value}` ({size})"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _takes(schema: Schema, root: Schema) -> str:
    """What a field takes, from its JSON schema."""
    if "$ref" in schema:
        return _takes(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member.get("type") != "null"]
        numbers = [member for member in members if member.get("type") == "number"]  # a number may be quoted too
        return " or ".join(dict.fromkeys(_takes(member, root) for member in numbers or members))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {_takes(schema['items'], root)}" + _most(schema)
        case "object":
            inner = schema.get("additionalProperties")
            named = isinstance(inner, Mapping) and not schema.get("properties")
            return f"name → {_takes(inner, root)}" if named and isinstance(inner, Mapping) else "mapping"
        case kind:
            return _KINDS[kind] + _bounds(schema)


_KINDS = {"boolean": "`true`, `false`", "string": "text", "integer": "whole number", "number": "number"}


def _bounds(schema: Schema) -> str:
    signs = {"minimum": "from", "exclusiveMinimum": "more than", "maximum": "to"}
    return "".join(f" {word} {schema[key]:.0f}" for key, word in signs.items() if key in schema)


def _most(schema: Schema) -> str:
    return f", at most {schema['maxItems']}" if "maxItems" in schema else ""
