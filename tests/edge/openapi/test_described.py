"""What is said of each route: every rule has its words, and only those."""

from __future__ import annotations

import pytest

from proxy.edge.access import ACCESS, Rule
from proxy.edge.openapi.described import described


@pytest.mark.parametrize("rule", ACCESS, ids=lambda rule: rule.name)
def test_every_rule_is_described(rule: Rule) -> None:
    about = described(rule.name, rule.method)

    assert about.summary
    assert about.answers.keys() <= {200, 201, 503}
    assert (about.body is not None) == (rule.method == "POST")


def test_a_rule_that_nobody_described_is_found() -> None:
    with pytest.raises(KeyError):
        described("nothing", "GET")
