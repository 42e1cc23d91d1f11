"""Wording: what pydantic finds wrong with a value, in the words of whoever wrote the value."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic_core import ErrorDetails

_WORDS = MappingProxyType(
    {
        "missing": "is missing: add it",
        "extra_forbidden": "is not known here: remove it",
        "string_type": "must be text: quote it",
        "string_pattern_mismatch": "is not written as it must be",
        "finite_number": "must be a finite number",
    }
    | dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false")
    | dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping, written key: value")
    | dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "must be a list, written [a, b]")
    | dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number")
    | dict.fromkeys(("int_parsing_size", "decimal_max_digits", "decimal_whole_digits"), "has too many digits")
    | dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "must be a number")
)
_BOUNDS = MappingProxyType(
    {
        "greater_than_equal": ("ge", "must be at least {}"),
        "greater_than": ("gt", "must be more than {}"),
        "less_than_equal": ("le", "must be at most {}"),
        "less_than": ("lt", "must be less than {}"),
        "multiple_of": ("multiple_of", "must be a multiple of {}"),
        "decimal_max_places": ("decimal_places", "must have at most {} decimal places"),
        "literal_error": ("expected", "must be {}"),
        "enum": ("expected", "must be {}"),
    }
)


def words(misfit: ErrorDetails) -> str:
    """What is wrong and what would be right; to stand behind the name of the value."""
    kind, context = misfit["type"], misfit.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or misfit["msg"])
    if kind in ("too_short", "too_long"):
        return f"{_length(kind, context, 'item')}, not {context['actual_length']}"
    if kind in ("string_too_short", "string_too_long"):
        return "must not be empty" if context.get("min_length") == 1 else _length(kind, context, "character")
    if kind in _BOUNDS:
        name, text = _BOUNDS[kind]
        return text.format(_number(context[name]))
    return _WORDS.get(kind) or misfit["msg"].replace("Input should", "must").replace("String should", "must")


def _length(kind: str, context: Mapping[str, Any], noun: str) -> str:
    limit = context.get("min_length", context.get("max_length"))
    return f"must have at {'least' if kind.endswith('short') else 'most'} {limit} {noun}{'' if limit == 1 else 's'}"


def _number(limit: object) -> object:
    """A bound as it was written: 1 for 1.0."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
