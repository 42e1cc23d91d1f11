"""What commands print: tables on a terminal, tab-separated text in a pipe, JSON when asked for."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import show


def test_in_a_pipe_cells_are_separated_by_tabs_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    show.rows(("name", "left"), [("a\tb\x1b[31m", None), (1, 2)])
    assert capsys.readouterr().out == "NAME\tLEFT\na\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m\t-\n1\t2\n"


def test_on_a_terminal_there_is_a_table() -> None:
    source = "from proxy.cli import show; show.rows(('name', 'left'), [('[red]ana', 5)])"
    ours, theirs = pty.openpty()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", source], stdout=theirs, env=environ, check=True)
    os.close(theirs)
    printed = os.read(ours, 4096).decode()
    os.close(ours)
    assert "[red]ana" in printed
    assert "\t" not in printed


def test_json_keeps_the_letters_of_the_world(capsys: pytest.CaptureFixture[str]) -> None:
    show.as_json(["Müller"])
    assert capsys.readouterr().out == '["Müller"]\n'


@pytest.mark.parametrize(
    ("unix_ms", "text"), [(None, None), (0, "1970-01-01 00:00:00Z"), (1_700_000_000_999, "2023-11-14 22:13:20Z")]
)
def test_times_are_utc(unix_ms: int | None, text: str | None) -> None:
    assert show.day(unix_ms) == text
