"""A finding is one line with what to do."""

from __future__ import annotations

import pytest

from proxy.cli.findings import Finding, Level, broken, doubtful, fine


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (fine("python", "3.11.2"), "ok    python: 3.11.2"),
        (doubtful("room", "1 GiB free", "make room"), "warn  room: 1 GiB free -> make room"),
        (broken("clock", "is wrong", "set it"), "fail  clock: is wrong -> set it"),
    ],
)
def test_a_finding_is_one_line(finding: Finding, line: str) -> None:
    assert str(finding) == line


def test_only_a_failure_fails() -> None:
    assert [fine("a", "").level, doubtful("a", "", "").level, broken("a", "", "").level] == list(Level)
