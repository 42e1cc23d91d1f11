"""Environment: puts the values of variables where ``${NAME}`` and ``os.environ/NAME`` stand, and keeps them out of messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proxy.config.tree import Location, Node, path_text, problem_at
from proxy.errors import Problem

_WHOLE = re.compile(r"os\.environ/(.*)", re.DOTALL)
_PIECE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|\$\{", re.DOTALL)
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLAIN_CHARS_MIN = 4  # a shorter value is hidden only where it stands alone: "1" is in too many words


class _Wrong(ValueError):
    """A reference that cannot be followed; the message says why and what to do."""


@dataclass(slots=True)
class Environment:
    """The variables of one load, and which of them it used."""

    variables: Mapping[str, str]
    used: dict[str, str] = field(default_factory=dict)

    def expand(self, node: Node, problems: list[Problem], location: Location = ()) -> Node:
        """The same tree with its references followed; those that cannot be are noted and refused.

        ``${NAME}`` and ``${NAME:-default}`` may stand inside a string, ``os.environ/NAME`` only alone; ``$${`` is ``${``.
        """
        value = node.value
        if isinstance(value, Mapping):
            below = {key: self.expand(child, problems, (*location, key)) for key, child in value.items()}
            return replace(node, value=below)
        if isinstance(value, tuple):
            return replace(
                node, value=tuple(self.expand(child, problems, (*location, at)) for at, child in enumerate(value))
            )
        if not isinstance(value, str):
            return node
        try:
            text = self._text(value)
        except _Wrong as wrong:
            problems.append(problem_at(node.place, path_text(location), str(wrong)))
            return replace(node, value=None, refused=True)
        return node if text == value else replace(node, value=text, written=value)

    def hide(self, problem: Problem) -> Problem:
        """The problem without any value that came from a variable."""
        return replace(problem, path=self._hidden(problem.path), message=self._hidden(problem.message))

    def _text(self, text: str) -> str:
        if whole := _WHOLE.fullmatch(text):
            if not _NAME.fullmatch(whole[1]):
                raise _Wrong("os.environ/ must be followed by the name of one environment variable")
            return self._value(whole[1], default=None)
        return _PIECE.sub(self._piece, text)

    def _piece(self, match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inside = _INSIDE.fullmatch(match["inside"] or "")
        if inside is None:
            raise _Wrong("a reference is written ${NAME} or ${NAME:-default}; write $${ where the text itself has ${")
        return self._value(inside["name"], default=inside["default"])

    def _value(self, name: str, *, default: str | None) -> str:
        value = self.variables.get(name)
        if default is not None and not value:
            return default
        if value is None:
            raise _Wrong(f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}")
        self.used[value] = f"${{{name}}}"
        return value

    def _hidden(self, text: str) -> str:
        for value in sorted(self.used, key=len, reverse=True):
            for form in {value, repr(value)[1:-1]} - {""}:
                if len(form) >= PLAIN_CHARS_MIN:
                    text = text.replace(form, self.used[value])
                else:
                    text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", lambda _: self.used[value], text)  # noqa: B023
        return text
