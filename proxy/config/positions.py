"""Positions: YAML into plain values that remember where they were written, so that every problem can name its place.

What YAML 1.1 and 1.2 read differently is refused or read as it looks: ``no``, ``on`` and ``yes`` are strings, ``012`` and
``1:30`` are problems. Only true/false, null, integers and floats of the YAML 1.2 core schema
(https://yaml.org/spec/1.2.2/#103-core-schema) are not strings. Keys are always strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml
from yaml.nodes import ScalarNode, SequenceNode

from proxy.config.tree import Location, Node, Place, Scalar, path_text, problem_at
from proxy.errors import Problem

FILE_BYTES_MAX = 1024 * 1024
NODES_MAX = 20_000  # values in a file, each alias counted in full
DEPTH_MAX = 50
DIGITS_MAX = 18  # a 64-bit integer holds them


def decode(raw: bytes, file: str, problems: list[Problem]) -> str | None:
    """The file's text; None, with the problem noted, when it is none. ``file`` is its name in messages."""
    if len(raw) > FILE_BYTES_MAX:
        problems.append(Problem(file, 1, 1, "", f"is larger than {FILE_BYTES_MAX} bytes: split or shorten it"))
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _line_and_column(raw[: error.start].decode())
        problems.append(Problem(file, line, column, "", "is not UTF-8 text from here on: save it as UTF-8"))
        return None


def read_yaml(text: str, file: str, problems: list[Problem]) -> Node | None:
    """The file's one document; an empty file is a null. None, with the problem noted, when it is not YAML we read."""
    try:
        root = _Loader(text).get_single_node()
        if root is None:
            return Node(Place(file, 1, 1), None)
        return _Reading(file, problems).node(root, ())
    except yaml.reader.ReaderError as error:
        line, column = _line_and_column(text[: error.position])
        message = f"the character U+{int(error.character):04X} is not allowed in YAML: remove it"
        problems.append(Problem(file, line, column, "", message))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problems.append(Problem(file, line, column, "", _wording(error)))
    return None


PLAIN = "plain"
STRING = "tag:yaml.org,2002:str"
COLLECTIONS = frozenset({"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})


class _Loader(yaml.SafeLoader):
    """Composes nodes without guessing types, to a bounded depth."""

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else STRING
        return "tag:yaml.org,2002:seq" if kind is SequenceNode else "tag:yaml.org,2002:map"

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth >= DEPTH_MAX:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _refused(mark, f"nested deeper than {DEPTH_MAX} levels: flatten it")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


@dataclass(slots=True)
class _Reading:
    """One file on its way from composed nodes to ours."""

    file: str
    problems: list[Problem]
    count: int = 0
    open: set[int] = field(default_factory=set)

    def node(self, node: yaml.Node, location: Location) -> Node:
        self.count += 1
        if self.count > NODES_MAX:
            raise _refused(node.start_mark, f"more than {NODES_MAX} values, aliases counted in full: use fewer")
        if isinstance(node, ScalarNode):
            return self.scalar(node, location)
        if id(node) in self.open:
            raise _refused(node.start_mark, "an alias inside its own anchor never ends: write the value out")
        if node.tag not in COLLECTIONS:
            return self.refuse(node, location, "YAML tags are not supported: remove the one that begins with '!'")
        self.open.add(id(node))
        try:
            return self.collection(node, location)
        finally:
            self.open.discard(id(node))

    def collection(self, node: yaml.Node, location: Location) -> Node:
        place = self.place(node)
        if isinstance(node, SequenceNode):
            return Node(place, tuple(self.node(item, (*location, at)) for at, item in enumerate(node.value)))
        keys: dict[str, Place] = {}
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node, keys, location)
            if key is not None:
                keys[key] = self.place(key_node)
                children[key] = self.node(value_node, (*location, key))
        return Node(place, children, keys)

    def key(self, node: yaml.Node, earlier: Mapping[str, Place], location: Location) -> str | None:
        if not isinstance(node, ScalarNode) or node.tag not in (PLAIN, STRING):
            self.note(node, location, "a key must be plain text")
        elif not node.value and node.tag == PLAIN:
            self.note(node, location, "a key is missing before the colon")
        elif node.value == "<<" and node.tag == PLAIN:
            self.note(node, location, "merge keys (<<) are not supported: write the keys out")
        elif node.value in earlier:
            line = earlier[node.value].line
            self.note(node, (*location, node.value), f"this key was already given on line {line}: remove one of them")
        else:
            return str(node.value)
        return None

    def scalar(self, node: ScalarNode, location: Location) -> Node:
        if node.tag == STRING:
            return Node(self.place(node), str(node.value))
        if node.tag != PLAIN:
            return self.refuse(node, location, "YAML tags are not supported: remove the one that begins with '!'")
        value = _core(node.value)
        if isinstance(value, _Unclear):
            return self.refuse(node, location, value.why)
        return Node(self.place(node), value)

    def refuse(self, node: yaml.Node, location: Location, message: str) -> Node:
        self.note(node, location, message)
        return Node(self.place(node), None, refused=True)

    def note(self, node: yaml.Node, location: Location, message: str) -> None:
        self.problems.append(problem_at(self.place(node), path_text(location), message))

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)


@dataclass(frozen=True, slots=True)
class _Unclear:
    """A plain scalar that YAML readers do not agree on, or that is no number we can hold."""

    why: str


_CONSTANTS: Mapping[str, bool | None] = MappingProxyType(
    {"": None, "~": None}
    | dict.fromkeys(("null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNCLEAR = (
    (re.compile(r"[-+]?0[0-9_]+"), "a number with a leading zero is octal to some: quote it, or drop the zero"),
    (re.compile(r"[-+]?0o[0-7]+"), "an octal number to some and text to others: quote it, or write it in decimal"),
    (re.compile(r"[-+]?0b[01_]+"), "a binary number to some and text to others: quote it, or write it in decimal"),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9_]*)?"), "a number to base 60 to some and text to others: quote it"),
    (re.compile(r"[-+]?[0-9.][0-9_.]*_[0-9_.]*"), "digits with _ are a number to some and text to others: quote them"),
    (_ENDLESS, "infinity and not-a-number are not numbers one can configure: give a finite one"),
)


def _core(text: str) -> Scalar | _Unclear:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for pattern, why in _UNCLEAR:
        if pattern.fullmatch(text):
            return _Unclear(why)
    if _INTEGER.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        too_long = len(text) > DIGITS_MAX
        return (
            _Unclear(f"a number of more than {DIGITS_MAX} digits: quote it if it is text") if too_long else _int(text)
        )
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else _Unclear("this number is too large: give a smaller one")
    return text


def _int(text: str) -> int:
    return int(text, 16 if "x" in text else 10)


def _refused(mark: yaml.Mark, why: str) -> yaml.MarkedYAMLError:
    return yaml.composer.ComposerError(None, None, f"!{why}", mark)


_PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "found character '\\t' that cannot start any token": "a tab cannot indent YAML: use spaces",
        "but found another document": "a second document begins here: keep one document in a file",
        "mapping values are not allowed here": "a colon is not expected here: quote the text, or check the indentation",
        "could not find expected ':'": "a key without a colon: add it, or check the indentation",
    }
)


def _wording(error: yaml.MarkedYAMLError) -> str:
    """What the YAML reader found, said with what to do."""
    found = error.problem or error.context or "unreadable"
    if found.startswith("!"):
        return found[1:]
    if found in _PHRASES:
        return _PHRASES[found]
    if found.startswith("found undefined alias"):
        return "no anchor of this name above this alias: define it, or quote text that begins with *"
    if match := re.fullmatch(r"found character ('.') that cannot start any token", found):
        return f"text cannot begin with {match[1]}: quote it"
    found = re.sub(r""" ('[^'<]{2,}'|"[^"]{2,}")""", "", found)  # a name in it may be half of an unquoted password
    return f"is not YAML: {found}; check indentation, quotes and brackets near here"


def _line_and_column(text_before: str) -> tuple[int, int]:
    return text_before.count("\n") + 1, len(text_before) - (text_before.rfind("\n") + 1) + 1
