"""What ``orch doctor`` finds: one line for each thing looked at, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``warn``: it serves, but somebody should look. ``fail``: it does not, or not safely."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``mend`` says what to do; empty where nothing has to be done."""

    check: str
    level: Level
    says: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.check}: {self.says}{f' -> {self.mend}' if self.mend else ''}"


def fine(check: str, says: str) -> Finding:
    return Finding(check, Level.OK, says)


def doubtful(check: str, says: str, mend: str) -> Finding:
    return Finding(check, Level.WARN, says, mend)


def broken(check: str, says: str, mend: str) -> Finding:
    return Finding(check, Level.FAIL, says, mend)
