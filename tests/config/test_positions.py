"""Positions: every value knows its place; what YAML readers disagree on is refused at its place."""

from typing import Any

import pytest

from proxy.config.positions import DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, decode, read_yaml
from proxy.config.tree import Node, plain
from proxy.errors import Problem


def read(text: str) -> tuple[Node | None, list[str]]:
    problems: list[Problem] = []
    node = read_yaml(text, "f.yaml", problems)
    return node, [str(problem) for problem in problems]


def value(text: str) -> Any:
    node, problems = read(text)
    assert problems == []
    assert node is not None
    return plain(node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("y", "y"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-0.0", -0.0),
        ("1.2.3", "1.2.3"),
        ("127.0.0.1:4000", "127.0.0.1:4000"),
        ("2024-01-02", "2024-01-02"),
        ("12:99", "12:99"),
        ("=", "="),
        ("'012'", "012"),
        ('"1:30"', "1:30"),
        ("'true'", "true"),
        ("|\n  12\n", "12\n"),
        ("!!str 012", "012"),
        ("\ufeffa", "a"),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, expected: object) -> None:
    found = value(f"- {text}" if "\ufeff" not in text else text)
    found = found[0] if isinstance(found, list) else found
    assert found == expected
    assert type(found) is type(expected)


def test_keys_are_the_strings_they_look_like() -> None:
    assert value("{no: 1, on: 2, 4: 3, 012: 4, 1.50: 5, true: 6, '<<': 7, ~: 8}") == {
        "no": 1,
        "on": 2,
        "4": 3,
        "012": 4,
        "1.50": 5,
        "true": 6,
        "<<": 7,
        "~": 8,
    }


def test_an_alias_stands_for_its_anchor_and_points_to_it() -> None:
    node, problems = read("a: &x\n  b: 1\nc: *x\n")
    assert problems == []
    assert node is not None
    assert plain(node) == {"a": {"b": 1}, "c": {"b": 1}}
    assert isinstance(node.value, dict)
    assert node.value["c"].value["b"].place.line == 2


def test_an_empty_file_is_a_null() -> None:
    assert value("") is None
    assert value("# only a comment\n") is None


LEADING_ZERO = "a number with a leading zero is octal to some: quote it, or drop the zero"
SIXTY = "a number to base 60 to some and text to others: quote it"
UNDERSCORE = "digits with _ are a number to some and text to others: quote them"
ENDLESS = "infinity and not-a-number are not numbers one can configure: give a finite one"
TAG = "YAML tags are not supported: remove the one that begins with '!'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 012", f"f.yaml:1:4 a: {LEADING_ZERO}"),
        ("a: [1, -08]", f"f.yaml:1:8 a[1]: {LEADING_ZERO}"),
        ("a: 1:30", f"f.yaml:1:4 a: {SIXTY}"),
        ("a: 1:30.5", f"f.yaml:1:4 a: {SIXTY}"),
        ("a: 0o17", "f.yaml:1:4 a: an octal number to some and text to others: quote it, or write it in decimal"),
        ("a: 0b11", "f.yaml:1:4 a: a binary number to some and text to others: quote it, or write it in decimal"),
        ("a: 1_000", f"f.yaml:1:4 a: {UNDERSCORE}"),
        ("a: 1_0.5", f"f.yaml:1:4 a: {UNDERSCORE}"),
        ("a: .inf", f"f.yaml:1:4 a: {ENDLESS}"),
        ("a: -.Inf", f"f.yaml:1:4 a: {ENDLESS}"),
        ("a: .nan", f"f.yaml:1:4 a: {ENDLESS}"),
        ("a: 1e999", "f.yaml:1:4 a: this number is too large: give a smaller one"),
        ("a: " + "9" * 5000, "f.yaml:1:4 a: a number of more than 18 digits: quote it if it is text"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1 a: this key was already given on line 1: remove one of them"),
        ("x:\n  'a': 1\n  a: 2", "f.yaml:3:3 x.a: this key was already given on line 2: remove one of them"),
        ("a.b: {c: 1, c: 2}", 'f.yaml:1:13 ["a.b"].c: this key was already given on line 1: remove one of them'),
        ("b: &b {c: 1}\na: {<<: *b}", "f.yaml:2:5 a: merge keys (<<) are not supported: write the keys out"),
        ("? [a]\n: 1", "f.yaml:1:3 a key must be plain text"),
        ("? !!int 1\n: 1", "f.yaml:1:3 a key must be plain text"),
        ("?\n: 1", "f.yaml:1:2 a key is missing before the colon"),
        ("a: !!python/name:os.system x", f"f.yaml:1:4 a: {TAG}"),
        ("a: !!int 3", f"f.yaml:1:4 a: {TAG}"),
        ("a: !secret [x]", f"f.yaml:1:4 a: {TAG}"),
        ("a: !!set {x}", f"f.yaml:1:4 a: {TAG}"),
        ("a:\n\tb: 1", "f.yaml:2:1 a tab cannot indent YAML: use spaces"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1 a second document begins here: keep one document in a file"),
        ("a: b: c", "f.yaml:1:5 a colon is not expected here: quote the text, or check the indentation"),
        ("a: 1\nb\nc: 2", "f.yaml:3:1 a key without a colon: add it, or check the indentation"),
        (
            "a: *hunter2",
            "f.yaml:1:4 no anchor of this name above this alias: define it, or quote text that begins with *",
        ),
        ("a: @b", "f.yaml:1:4 text cannot begin with '@': quote it"),
        ("a: `b`", "f.yaml:1:4 text cannot begin with '`': quote it"),
        (
            "a: [1, 2",
            "f.yaml:1:9 is not YAML: expected ',' or ']', but got '<stream end>'; check indentation, quotes and brackets"
            " near here",
        ),
        (
            "a: !hunter2!b c",
            "f.yaml:1:4 is not YAML: found undefined tag handle; check indentation, quotes and brackets near here",
        ),
        (
            "a: &hunter2 1\nb: &hunter2 2",
            "f.yaml:2:4 is not YAML: second occurrence; check indentation, quotes and brackets near here",
        ),
        (
            'a: "b\nc: 1',
            "f.yaml:2:5 is not YAML: found unexpected end of stream; check indentation, quotes and brackets near here",
        ),
        ("a: 1\nb: \x07", "f.yaml:2:4 the character U+0007 is not allowed in YAML: remove it"),
        ("a: &x [*x]", "f.yaml:1:4 an alias inside its own anchor never ends: write the value out"),
        ("a: &x {b: {c: *x}}", "f.yaml:1:4 an alias inside its own anchor never ends: write the value out"),
        ("[" * 1000, f"f.yaml:1:{DEPTH_MAX + 1} nested deeper than {DEPTH_MAX} levels: flatten it"),
    ],
)
def test_yaml_that_cannot_be_taken_is_refused_at_its_place(text: str, problem: str) -> None:
    _, problems = read(text)
    assert problems == [problem]
    assert "hunter2" not in problems[0]


def test_aliases_of_aliases_cannot_make_a_large_value() -> None:
    bomb = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
    node, problems = read(bomb)
    assert node is None
    assert problems == [f"f.yaml:1:10 more than {NODES_MAX} values, aliases counted in full: use fewer"]


def test_all_that_can_be_told_of_one_file_is_told_at_once() -> None:
    _, problems = read("a: 012\nb: 1:30\nb: 2\n")
    assert [problem.split()[0] for problem in problems] == ["f.yaml:1:4", "f.yaml:2:4", "f.yaml:3:1"]


def test_the_rest_of_a_file_is_read_around_what_was_refused() -> None:
    node, _ = read("a: 012\nb: 1\nb: 2\n")
    assert node is not None
    assert plain(node) == {"a": None, "b": 1}
    assert isinstance(node.value, dict)
    assert node.value["a"].refused


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"a: 1\nb: \xff\xfe", "f.yaml:2:4 is not UTF-8 text from here on: save it as UTF-8"),
        ("a: ü\nb: ".encode() + b"\xe9t\xe9", "f.yaml:2:4 is not UTF-8 text from here on: save it as UTF-8"),
        ("a: 1".encode("utf-16"), "f.yaml:1:1 is not UTF-8 text from here on: save it as UTF-8"),
        (b"a" * (FILE_BYTES_MAX + 1), f"f.yaml:1:1 is larger than {FILE_BYTES_MAX} bytes: split or shorten it"),
    ],
)
def test_bytes_that_are_no_text_are_refused(raw: bytes, problem: str) -> None:
    problems: list[Problem] = []
    assert decode(raw, "f.yaml", problems) is None
    assert [str(problem) for problem in problems] == [problem]


def test_a_byte_order_mark_is_no_content() -> None:
    assert decode(b"\xef\xbb\xbfa: 1", "f.yaml", []) == "a: 1"
