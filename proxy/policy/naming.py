"""Names as operators and callers write them: globs, and what was probably meant by a misspelt one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

LISTED_MAX = 20  # names in a message; a catalogue of thousands would drown it
COMPARED_MAX = 200  # names looked at for a suggestion: comparing costs microseconds each
COMPARED_CHARS_MAX = 100


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` is one of the patterns: exact, or a glob (``*``, ``?``, ``[…]``), case kept."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'gpt-4o'?`` ready to append, or nothing."""
    if len(name) > COMPARED_CHARS_MAX:
        return ""
    close = get_close_matches(name, _likely(name, known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


def listing(names: Iterable[str]) -> str:
    """Some of the names, sorted, and how many more there are."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:LISTED_MAX]) or "none"
    rest = len(ordered) - LISTED_MAX
    return f"{shown} and {rest} more" if rest > 0 else shown


def _likely(name: str, known: Collection[str]) -> list[str]:
    if len(known) <= COMPARED_MAX:
        return list(known)
    # Slips at the very beginning of a name are rare: those that begin alike come first.
    alike = [other for other in known if other[:2].lower() == name[:2].lower()]
    return alike[:COMPARED_MAX]
