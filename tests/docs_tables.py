"""The tables of docs/ that are made from the code: ``python -m tests.docs_tables`` writes them anew, tests/test_docs.py compares.

A table stands below a comment that names its source, ``<!-- table: proxy.config.settings:Limits -->``, up to the next blank
line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from pydantic.fields import FieldInfo

from proxy.config.providers import PROVIDERS
from proxy.config.settings import Settings
from proxy.config.watch import RESTART
from proxy.policy.order import _BEFORE
from tests.docs_reading import ROOT, documents

MARKED = re.compile(r"(?P<mark><!-- table: (?P<source>\S+) -->\n\n)(?P<table>(?:\|.*\n)+)")
MIB = 1024 * 1024

Schema = Mapping[str, Any]
Rows = Iterator[tuple[str, ...]]


def rewritten(text: str) -> str:
    """The document with every marked table made anew."""
    return MARKED.sub(lambda found: found["mark"] + table(found["source"]), text)


def table(source: str) -> str:
    """``providers``, ``order``, ``restart``, or ``module:Class`` of settings."""
    match source:
        case "providers":
            return markdown(("provider", "key taken from", "asked by", "at"), providers())
        case "order":
            return markdown(("this", "before this", "because"), order())
        case "restart":
            return markdown(("setting",), ((f"`{name}`",) for name in RESTART))
        case _:
            module, _, name = source.partition(":")
            return markdown(
                ("setting", "takes", "default", "what it is"), settings(getattr(import_module(module), name))
            )


def markdown(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def providers() -> Rows:
    for provider in PROVIDERS.values():
        keys = " or ".join(f"`{variable}`" for variable in provider.variables) or "needs none"
        at = f"`{provider.base_url}`" if provider.base_url else "the provider's own address"
        if provider.base_url_variable:
            at += f", or `{provider.base_url_variable}`"
        yield f"`{provider.name}`", keys, "passthrough" if provider.base_url else "litellm", at


def order() -> Rows:
    for outer, inner, why in _BEFORE:
        yield f"`{kind_of(outer)}`", f"`{kind_of(inner)}`", why


def kind_of(policy: type[Settings]) -> str:
    (kind,) = policy.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    return str(kind)


def settings(shape: type[Settings]) -> Rows:
    """A row for each field but ``kind``."""
    schema = shape.model_json_schema()
    for field, known in shape.model_fields.items():
        name = known.alias or field
        if field != "kind":
            yield f"`{name}`", takes(schema["properties"][name], schema), default(name, known), str(known.description)


def default(name: str, field: FieldInfo) -> str:
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


def takes(schema: Schema, root: Schema) -> str:
    """What a field takes, in words, from its JSON schema."""
    if "$ref" in schema:
        return takes(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member.get("type") != "null"]
        numbers = [member for member in members if member.get("type") == "number"]  # a number may be quoted too
        return " or ".join(dict.fromkeys(takes(member, root) for member in numbers or members))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {takes(schema['items'], root)}" + _most(schema)
        case "object":
            inner = schema.get("additionalProperties")
            named = isinstance(inner, Mapping) and not schema.get("properties")
            return f"name → {takes(inner, root)}" if named and isinstance(inner, Mapping) else "mapping"
        case kind:
            return {"boolean": "`true`, `false`", "string": "text", "integer": "whole number", "number": "number"}[
                kind
            ] + _bounds(schema)


def _bounds(schema: Schema) -> str:
    signs = {"minimum": "from", "exclusiveMinimum": "more than", "maximum": "to"}
    return "".join(f" {word} {schema[key]:.0f}" for key, word in signs.items() if key in schema)


def _most(schema: Schema) -> str:
    return f", at most {schema['maxItems']}" if "maxItems" in schema else ""


def main() -> None:
    for document in documents():
        before = document.read_text()
        after = rewritten(before)
        if after != before:
            document.write_text(after)
            print(f"{document.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
