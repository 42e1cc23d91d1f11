"""JSON bodies: bytes to values and back without changing what was said, and without bytes that could crash us.

orjson does the work. The standard library steps in where orjson refuses what OpenAI accepts (lone surrogates) or would change
a value (an integer beyond 64 bits becomes a float). NaN and Infinity are not JSON and are refused. Of two equal keys
the last one counts, in both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from proxy.errors import BadRequest

_DIGITS_AS_ZERO = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONG_INTEGER = b"0" * 19  # the shortest run of digits that may not fit into 64 bits


class NotJson(ValueError):
    """These bytes are not JSON; the message says what is wrong and where, and repeats none of them."""


class _Piece(str):
    """Text that is JSON already."""

    __slots__ = ()


def parse(raw: bytes, *, depth_max: int, values_max: int) -> dict[str, Any]:
    """The request body as an object of at most ``values_max`` values, nested at most ``depth_max`` levels.

    Raises BadRequest that says what and where.
    """
    if not raw.strip():
        raise BadRequest("The request body is empty. Send a JSON object.", reason="invalid_json")
    # Before it is parsed: a byte or two of brackets become a hundred in memory. Those in strings are counted only at first.
    if values(raw) > values_max and values(_STRING.sub(b"", raw)) > values_max:
        message = f"The request body has more than {values_max} JSON values (json_values_max). Send fewer."
        raise BadRequest(message, reason="too_many_values")
    try:
        body = decode(raw)
    except NotJson as error:
        message = f"We could not parse the JSON body of your request: {error}. Send one JSON object, encoded as UTF-8."
        raise BadRequest(message, reason="invalid_json") from error
    if not isinstance(body, dict):
        raise BadRequest('The request body must be a JSON object, such as {"model": …}.', reason="invalid_type")
    # A bracket inside a string counts too, so this only ever says "shallow" when it is.
    if raw.count(b"[") + raw.count(b"{") > depth_max and _deeper_than(body, depth_max):
        message = f"The request body is nested more than {depth_max} levels deep. Send a flatter one."
        raise BadRequest(message, reason="too_deep")
    return body


def values(raw: bytes) -> int:
    """How many JSON values the bytes hold at most, told from their punctuation; a comma in a text counts too."""
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{") + 1


def decode(raw: bytes) -> Any:
    """Any JSON value, exactly. Raises NotJson, and nothing else, for whatever bytes."""
    if _LONG_INTEGER in raw.translate(_DIGITS_AS_ZERO):
        return _decode_exactly(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if b"\\u" in raw:  # perhaps a lone surrogate
            return _decode_exactly(raw)
        raise NotJson(_what_and_where(error)) from error


def dump(body: Mapping[str, Any]) -> bytes:
    """JSON that parses to the same value; takes whatever ``parse`` returns."""
    value = body if isinstance(body, dict) else dict(body)
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, integers beyond 64 bits, more than 253 levels
        return _dump_exactly(value)


def _decode_exactly(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), parse_float=_finite, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise NotJson(_what_and_where(error)) from error
    except RecursionError as error:
        raise NotJson("it is nested too deeply") from error
    except ValueError as error:  # not UTF-8, more digits than Python converts, not finite
        raise NotJson(str(error)) from error


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large for a double")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _what_and_where(error: json.JSONDecodeError) -> str:
    for name in ("NaN", "Infinity"):
        if error.doc.startswith(name, error.pos):
            return f"{name} is not JSON: line {error.lineno} column {error.colno}"
    return f"{error.msg}: line {error.lineno} column {error.colno}"


def _deeper_than(value: object, depth_max: int) -> bool:
    level = [value]
    for _ in range(depth_max):
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(node: object) -> Any:
    return node.values() if isinstance(node, dict) else node


def _dump_exactly(value: object) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:  # deep, and called from deep in the chain
        return _dump_without_recursion(value)


def _dump_without_recursion(root: object) -> bytes:
    pieces: list[str] = []
    todo: list[object] = [root]
    while todo:
        value = todo.pop()
        if isinstance(value, _Piece):
            pieces.append(value)
        elif isinstance(value, dict | list):
            todo.extend(reversed(_opened(value)))
        else:
            pieces.append(json.dumps(value, allow_nan=False))
    return "".join(pieces).encode()


def _opened(value: dict[str, Any] | list[Any]) -> list[object]:
    """The container's members between its brackets and commas."""
    if isinstance(value, list):
        between = [part for member in value for part in (_Piece(","), member)]
        return [_Piece("["), *between[1:], _Piece("]")]
    members = [part for key, member in value.items() for part in (_Piece(","), key, _Piece(":"), member)]
    return [_Piece("{"), *members[1:], _Piece("}")]
