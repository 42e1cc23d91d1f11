"""The tree: values, places, and how a place is written."""

import pytest

from proxy.config.positions import read_yaml
from proxy.config.tree import Location, Node, Place, child, find, path_text, place_of, plain

TEXT = """\
server: {listen: here}
models:
  gpt-4.1:
    deployments:
      - upstream: one
        model: m
"""


@pytest.fixture
def tree() -> Node:
    node = read_yaml(TEXT, "f.yaml", [])
    assert node is not None
    return node


@pytest.mark.parametrize(
    ("location", "line", "column"),
    [
        (("server",), 1, 1),  # the key of a mapping
        (("server", "listen"), 1, 18),  # a scalar itself
        (("server", "missing"), 1, 1),  # as near as it gets
        (("models", "gpt-4.1", "deployments"), 4, 5),
        (("models", "gpt-4.1", "deployments", 0), 5, 9),  # an element of a list has no key
        (("models", "gpt-4.1", "deployments", 0, "model"), 6, 16),
        (("models", "gpt-4.1", "deployments", 7, "model"), 4, 5),
        ((), 1, 1),
    ],
)
def test_a_location_points_at_a_scalar_or_at_the_key_of_a_collection(
    tree: Node, location: Location, line: int, column: int
) -> None:
    assert place_of(tree, location) == Place("f.yaml", line, column)


def test_find_goes_as_far_as_there_is_something(tree: Node) -> None:
    assert find(tree, ("server", "listen")).value == "here"
    assert plain(find(tree, ("server", "nothing", 3))) == {"listen": "here"}
    assert child(tree, 0) is None
    assert child(tree, "nothing") is None


def test_plain_values_have_no_places(tree: Node) -> None:
    assert plain(tree) == {
        "server": {"listen": "here"},
        "models": {"gpt-4.1": {"deployments": [{"upstream": "one", "model": "m"}]}},
    }


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (("models", "gpt-4o", "deployments", 0, "upstream"), "models.gpt-4o.deployments[0].upstream"),
        (("models", "gpt-4.1", "class"), 'models["gpt-4.1"].class'),
        (("models", "openai/gpt"), "models.openai/gpt"),
        (("policies", 2, "fallback", "to"), "policies[2].fallback.to"),
        (("a b", "c"), '["a b"].c'),
        ((), ""),
    ],
)
def test_a_location_is_written_as_a_path(location: Location, text: str) -> None:
    assert path_text(location) == text
