"""Environment references: followed where they stand, told when they cannot be, their values kept out of every message."""

from typing import Any

import pytest

from proxy.config.environment import Environment
from proxy.config.positions import read_yaml
from proxy.config.tree import Node, find, plain
from proxy.errors import Problem

VARIABLES = {"KEY": "sk-secret", "EMPTY": "", "PORT": "80", "TRICK": "${KEY}", "LINES": "one\ntwo"}


def expand(text: str) -> tuple[Node, list[str], Environment]:
    problems: list[Problem] = []
    environment = Environment(VARIABLES)
    root = read_yaml(text, "f.yaml", problems)
    assert root is not None
    node = environment.expand(root, problems)
    return node, [str(problem) for problem in problems], environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${KEY}", "sk-secret"),
        ('"${KEY}"', "sk-secret"),
        ("Bearer ${KEY}!", "Bearer sk-secret!"),
        ("${KEY}:${PORT}", "sk-secret:80"),
        ("os.environ/KEY", "sk-secret"),
        ("see os.environ/KEY", "see os.environ/KEY"),
        ("${MISSING:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${MISSING:-}", ""),
        ("${MISSING:-http://a:1/v1}", "http://a:1/v1"),
        ("${KEY:-fallback}", "sk-secret"),
        ("${EMPTY}", ""),
        ("$${KEY}", "${KEY}"),
        ("$$${KEY}", "$${KEY}"),
        ("$KEY $ $$ costs 5$", "$KEY $ $$ costs 5$"),
        ("${TRICK}", "${KEY}"),  # a value is not read again
    ],
)
def test_a_reference_becomes_its_value(text: str, expected: str) -> None:
    node, problems, _ = expand(f"a: [{{b: {text}}}]" if '"' in text else f"a:\n- b: {text}")
    assert problems == []
    assert plain(node) == {"a": [{"b": expected}]}


def test_keys_and_numbers_are_left_alone() -> None:
    node, _, _ = expand("'${KEY}': 5\n")
    assert plain(node) == {"${KEY}": 5}


MALFORMED = "a reference is written ${NAME} or ${NAME:-default}; write $${ where the text itself has ${"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: ${GONE}", "a: the environment variable GONE is not set: set it, or write ${GONE:-default}"),
        ("a: os.environ/GONE", "a: the environment variable GONE is not set: set it, or write ${GONE:-default}"),
        ("a: os.environ/no-name", "a: os.environ/ must be followed by the name of one environment variable"),
        ("a: x${KEY", f"a: {MALFORMED}"),
        ("a: x${}", f"a: {MALFORMED}"),
        ("a: x${1A}", f"a: {MALFORMED}"),
        ("a: x${A B}", f"a: {MALFORMED}"),
        ("a: x${KEY-default}", f"a: {MALFORMED}"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_told_at_its_place(text: str, problem: str) -> None:
    node, problems, _ = expand(text)
    assert problems == [f"f.yaml:1:4 {problem}"]
    assert find(node, ("a",)).refused


def test_a_value_from_the_environment_remembers_how_it_was_written() -> None:
    node, _, _ = expand("a: x-${KEY}\nb: plain\n")
    assert find(node, ("a",)).written == "x-${KEY}"
    assert find(node, ("b",)).written is None


@pytest.mark.parametrize(
    ("message", "hidden"),
    [
        ("no upstream named 'sk-secret'", "no upstream named '${KEY}'"),
        ("xsk-secretx", "x${KEY}x"),
        ("must be below 8000, not 80", "must be below 8000, not ${PORT}"),
        ("unknown 'one\\ntwo'", "unknown '${LINES}'"),
    ],
)
def test_values_are_hidden_behind_their_references(message: str, hidden: str) -> None:
    _, _, environment = expand("[\"${KEY}\", '${PORT}', '${EMPTY}', '${LINES}']")
    problem = environment.hide(Problem("f.yaml", 1, 1, "models.sk-secret", message))
    assert problem == Problem("f.yaml", 1, 1, "models.${KEY}", hidden)


def test_only_what_was_used_is_hidden() -> None:
    _, _, environment = expand("a: 1")
    problem: Any = Problem("f.yaml", 1, 1, "a", "80 sk-secret")
    assert environment.hide(problem) == problem
