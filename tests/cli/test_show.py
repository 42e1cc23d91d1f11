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


def on_a_terminal(source: str, stream: str = "stdout") -> str:
    """What the code prints where ``stream`` is a terminal."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", f"from proxy.cli import show; {source}"]
    with subprocess.Popen(command, env=environ, **{stream: theirs}) as child:  # type: ignore[call-overload]
        os.close(theirs)
        printed = b""
        while part := _read(ours):
            printed += part
        assert child.wait() == 0
    os.close(ours)
    return printed.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other end was closed
        return b""


def test_on_a_terminal_figures_stand_to_the_right() -> None:
    _, first, second = on_a_terminal("show.rows(('name', 'left'), [('ana', 5), ('ben', 1000)])").splitlines()
    assert (first.rstrip()[3:], second.rstrip()[3:]) == ("      5", "   1000")


def test_the_fields_of_one_thing_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    show.fields({"name": "ana\x1b", "stream": True, "error": None, "note": ""})
    assert capsys.readouterr().out == "name\tana\N{REPLACEMENT CHARACTER}\nstream\tyes\nerror\t-\nnote\t-\n"
    assert on_a_terminal("show.fields({'a': 1, 'long': 2})") == "a     1\r\nlong  2\r\n"


def test_something_that_takes_long_shows_a_bar_to_whoever_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with show.busy("copying") as done:
        done(0.5)
    assert capsys.readouterr() == ("", "")
    shown = on_a_terminal(
        "b = show.busy('copying'); done = b.__enter__(); done(0.5); b.__exit__(None, None, None)", "stderr"
    )
    assert "copying" in shown


def test_csv_is_for_spreadsheets(capsys: pytest.CaptureFixture[str]) -> None:
    show.as_csv(("a", "b"), [('say "hi", ana', None), ("=1+1", -5), ("@x", "-1.5"), ("-a", 1)])
    assert capsys.readouterr().out == 'a,b\n"say ""hi"", ana",\n\'=1+1,-5\n\'@x,-1.5\n\'-a,1\n'


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, None), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_bytes_are_told_in_units(count: int | None, text: str | None) -> None:
    assert show.size(count) == text


@pytest.mark.parametrize(("nanousd", "text"), [(None, None), (0, "0"), (1500, "0.0000015"), (10**10, "10")])
def test_dollars_are_exact(nanousd: int | None, text: str | None) -> None:
    assert show.usd(nanousd) == text
