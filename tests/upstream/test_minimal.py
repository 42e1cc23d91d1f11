"""Minimal values of JSON Schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.minimal import ITEMS_MAX, minimal

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "required": ["name", "next"],
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, ""),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2.5}, -2.5),
        ({"type": "number", "minimum": -5, "maximum": 5}, 0),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, ""),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7, "type": "string"}, 7),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"anyOf": [{"type": "object"}, {"type": "string"}]}, ""),
        ({"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"oneOf": []}, None),
        (TREE, {"name": "", "next": None}),
        ({}, None),
        (True, None),
        ("junk", None),
    ],
)
def test_the_smallest_value_that_fits(schema: Any, value: Any) -> None:
    assert minimal(schema) == value


def test_a_schema_without_end_has_one_here() -> None:
    endless = {"$ref": "#"}
    assert minimal(endless) is None
    hungry = {"type": "array", "minItems": 10**9, "items": {"type": "null"}}
    assert minimal(hungry) == [None] * ITEMS_MAX


@pytest.mark.parametrize(
    "bomb",
    [
        {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
        {"type": "array", "minItems": 64, "items": {"$ref": "#"}},
        {
            "type": "array",
            "minItems": 64,
            "items": {"type": "array", "minItems": 64, "items": {"const": "x" * 100_000}},
        },
        {"type": "object", "required": [str(name) * 1_000 for name in range(1_000)]},
    ],
)
def test_a_schema_that_multiplies_is_cut(bomb: Any) -> None:
    assert len(json.dumps(minimal(bomb))) < 1_000_000


KEYWORDS = [
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "anyOf",
    "$ref",
    "minItems",
    "minLength",
    "minimum",
    "default",
]
WORDS = ["object", "array", "string", "integer", "#", "#/properties/a", "a"]
SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=4),
    max_leaves=20,
)


@given(SCHEMAS)
def test_whatever_the_schema_is_there_is_a_json_value(schema: Any) -> None:
    json.dumps(minimal(schema))
