"""As much of PromQL as it takes to see which metrics and labels an expression asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"\b((?:orch|process)_\w+|up)\b(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_NAME = re.compile(r"[a-zA-Z_]\w*")


@dataclass(frozen=True, slots=True)
class Asked:
    """What one expression names: each metric with the labels it is selected by, and the labels it is grouped by."""

    selected: tuple[tuple[str, frozenset[str]], ...]
    grouped: frozenset[str]

    @property
    def metrics(self) -> set[str]:
        return {name for name, _ in self.selected}


def asked(expression: str) -> Asked:
    bare = _STRING.sub('""', expression)
    grouped = {name for group in _GROUPING.findall(bare) for name in _NAME.findall(group)}
    ungrouped = _GROUPING.sub("", bare)
    selected = tuple((name, frozenset(_NAME.findall(labels))) for name, labels in _SELECTOR.findall(ungrouped))
    return Asked(selected, frozenset(grouped))


def is_balanced(expression: str) -> bool:
    bare = _STRING.sub("", expression)
    return all(bare.count(opening) == bare.count(closing) for opening, closing in ("()", "{}", "[]"))
