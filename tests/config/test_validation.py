"""Validation: what does not fit is told at its place, in the operator's words, with what was probably meant."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from proxy.config.environment import Environment
from proxy.config.positions import read_yaml
from proxy.config.settings import Config, Settings
from proxy.config.tree import Node
from proxy.config.validation import validate
from proxy.errors import Problem


def tree(text: str, **variables: str) -> Node:
    problems: list[Problem] = []
    node = read_yaml(text, "c.yaml", problems)
    assert node is not None
    return Environment(variables).expand(node, problems)


def told(text: str, shape: type[Settings] = Config, **variables: str) -> list[str]:
    problems: list[Problem] = []
    assert validate(shape, tree(text, **variables), problems) is None
    return [str(problem) for problem in problems]


SECTIONS = ", ".join(sorted(Config.model_fields))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stor: x", "c.yaml:1:1 stor: unknown key; did you mean 'store'?"),
        ("nonsense: x", f"c.yaml:1:1 nonsense: unknown key: remove it, or use one of {SECTIONS}"),
        ("server: {port: 1}", "c.yaml:1:10 server.port: unknown key: remove it, or use one of listen"),
        (
            "upstreams:\n  o:\n    api_kye: sk-123",
            "c.yaml:3:5 upstreams.o.api_kye: unknown key; did you mean 'api_key'?",
        ),
        (
            "models: {m: {clas: a, deployments: [{upstream: o}]}}",
            "c.yaml:1:14 models.m.clas: unknown key; did you mean 'class'?",
        ),
        (
            "models: {m: {deployments: [{upstream: o, mdel: x}]}}",
            "c.yaml:1:42 models.m.deployments[0].mdel: unknown key; did you mean 'model'?",
        ),
        ("models:\n  m: {class: a}", "c.yaml:2:3 models.m.deployments: is missing: add it"),
        ("models: {m: {deployments: [{}]}}", "c.yaml:1:28 models.m.deployments[0].upstream: is missing: add it"),
        (
            "models: {m: {deployments: []}}",
            "c.yaml:1:14 models.m.deployments: must have at least 1 item, not 0",
        ),
        ("models: {m: {deployments: one}}", "c.yaml:1:27 models.m.deployments: must be a list, written [a, b]"),
        (
            "durability: strikt",
            "c.yaml:1:13 durability: must be 'strict' or 'relaxed', not 'strikt'; did you mean 'strict'?",
        ),
        ("durability: 5", "c.yaml:1:13 durability: must be 'strict' or 'relaxed', not 5"),
        ("limits: {calls_max: 0}", "c.yaml:1:21 limits.calls_max: must be at least 1, not 0"),
        ("limits: {calls_max: many}", "c.yaml:1:21 limits.calls_max: must be a whole number, not 'many'"),
        ("limits: {calls_max: 1.5}", "c.yaml:1:21 limits.calls_max: must be a whole number, not 1.5"),
        ("limits: {call_s: soon}", "c.yaml:1:18 limits.call_s: must be a number, not 'soon'"),
        ("limits: {call_s: [1]}", "c.yaml:1:10 limits.call_s: must be a number"),
        ("server: 4000", "c.yaml:1:9 server: must be a mapping, written key: value"),
        ("server: {listen: 4000}", "c.yaml:1:18 server.listen: must be text: quote it, not 4000"),
        ("upstreams: [a]", "c.yaml:1:1 upstreams: must be a mapping, written key: value"),
        ("upstreams:\nmodels: {}", "c.yaml:1:11 upstreams: is empty: give it a value, or remove the key"),
        (
            "upstreams: {o: {stream_usage: maybe}}",
            "c.yaml:1:31 upstreams.o.stream_usage: must be true or false, not 'maybe'",
        ),
        (
            "upstreams: {o: {stream_usage: no}}",
            "c.yaml:1:31 upstreams.o.stream_usage: must be true or false, not 'no'",
        ),
        ("upstreams: {o: {stream_usage: 1}}", "c.yaml:1:31 upstreams.o.stream_usage: must be true or false, not 1"),
        ("limits: {calls_max: true}", "c.yaml:1:21 limits.calls_max: must be a whole number, not true"),
        ("limits: {call_s: false}", "c.yaml:1:18 limits.call_s: must be a number, not false"),
        (
            "models: {m: {deployments: [{upstream: o}], price: {input: 1, cached_input: true}}}",
            "c.yaml:1:76 models.m.price.cached_input: must be a number, not true",
        ),
        (
            "models: {m: {price: {input: 0.0000001}, deployments: [{upstream: o}]}}",
            "c.yaml:1:29 models.m.price.input: must have at most 6 decimal places, not 1e-07",
        ),
        (
            "upstreams: {a/b: {}}",
            "c.yaml:1:13 upstreams.a/b: the name of an upstream must not contain a slash: clients may write upstream/model",
        ),
        ("models: {'a b': {}}", 'c.yaml:1:10 models["a b"]: a name must be printable ASCII without blanks'),
        ("models: {modèle: {}}", "c.yaml:1:10 models.modèle: a name must be printable ASCII without blanks"),
        ("- a", "c.yaml:1:1 must be a mapping, written key: value"),
        (
            "server: {listen: '::1:4000'}",
            "c.yaml:1:18 server.listen: an IPv6 address needs brackets: write it like [::1]:4000",
        ),
        (
            "upstreams: {o: {base_url: ftp://x}}",
            "c.yaml:1:27 upstreams.o.base_url: must be an http:// or https:// URL, such as https://api.openai.com/v1",
        ),
        (
            "store: orch.db",
            "c.yaml:1:8 store: must be sqlite:/// and the path of a file, such as sqlite:///data/orch.db",
        ),
        (
            "upstreams: {o: {headers: {'x y': z}}}",
            'c.yaml:1:27 upstreams.o.headers["x y"]: is not the name of an HTTP header: use letters, digits and hyphens',
        ),
    ],
)
def test_a_misfit_is_told_at_its_place(text: str, problem: str) -> None:
    found = told(text)
    assert problem in found
    assert len(found) == (2 if "models: {'a b'" in text or "modèle" in text else 1)


@pytest.mark.parametrize(
    "text",
    [
        "upstreams: {o: {api_key: 123456789}}",
        "upstreams: {o: {api_key: [sk-canary]}}",
        "upstreams: {o: {api_key: {sk-canary: 1}}}",
        "upstreams: {o: {api_key: 'sk-canary '}}",
        "upstreams: {o: sk-canary}",
        "upstreams: sk-canary",
        "upstreams: {o: {headers: {authorization: 123456789}}}",
        "upstreams: {o: {headers: sk-canary}}",
        "upstreams: {o: {api_kye: sk-canary}}",
        "upstreams: {o: {base_url: 'https://user:sk-canary@host/v1'}}",
        "server: sk-canary",
    ],
)
def test_what_may_be_a_secret_is_never_shown(text: str) -> None:
    (problem,) = told(text)
    assert "canary" not in problem
    assert "123456789" not in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits: {calls_max: '${X}'}", "c.yaml:1:21 limits.calls_max: must be a whole number"),
        ("durability: ${X}", "c.yaml:1:13 durability: must be 'strict' or 'relaxed'"),
    ],
)
def test_what_came_from_the_environment_is_never_shown(text: str, problem: str) -> None:
    assert told(text, X="canary") == [problem]


def test_numbers_and_flags_may_come_from_the_environment() -> None:
    text = "limits: {calls_max: '${N}'}\nupstreams: {o: {stream_usage: '${F}'}}"
    config = validate(Config, tree(text, N="7", F="False"), [])
    assert config is not None
    assert config.limits.calls_max == 7
    assert config.upstreams["o"].stream_usage is False


def test_all_misfits_are_told_at_once() -> None:
    assert len(told("stor: x\ndurability: y\nlimits: {calls_max: z, call_s: -1}")) == 4


def test_what_was_refused_already_is_not_told_twice() -> None:
    problems: list[Problem] = []
    assert validate(Config, tree("limits: {calls_max: 012}"), problems) is None
    assert problems == []


class Either(Settings):
    """A field that may be one thing or another."""

    pick: Annotated[int | tuple[str, ...], Field()] = 1
    inner: Literal["a"] | None = None


def test_a_field_that_may_be_this_or_that_is_one_problem() -> None:
    assert told("pick: x", Either) == [
        "c.yaml:1:7 pick: must be a whole number, not 'x' or must be a list, written [a, b]"
    ]


def test_a_prefix_says_where_the_tree_stands() -> None:
    problems: list[Problem] = []
    validate(Either, tree("inner: b"), problems, prefix=("policies", 3, "either"))
    assert [str(problem) for problem in problems] == ["c.yaml:1:8 policies[3].either.inner: must be 'a', not 'b'"]
