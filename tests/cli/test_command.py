"""The command itself: its table, its help, and one line for every error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__, cli
from proxy.errors import BadRequest, ConfigError, Forbidden, JournalUnavailable, OrchError, Overloaded, Problem

LOADED = """
import sys
from proxy.cli import run
code = run(["--help"])
heavy = ("sqlite3", "openai", "starlette", "uvicorn", "litellm")
print("loaded", [name for name in sys.modules if name.split(".")[0] in heavy or name.startswith("proxy.cli.")])
"""


HELP_CPU_S = 0.2


def python(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])} | options
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environ, check=False)


def test_help_lists_every_command_and_imports_none() -> None:
    ran = python("-c", LOADED)
    for name, purpose in cli.TABLE.items():
        assert name in ran.stdout
        assert purpose in ran.stdout
    assert ran.stdout.endswith("loaded []\n")
    assert ran.stderr == ""


def test_the_module_is_the_command() -> None:
    ran = python("-m", "proxy", "kyes")
    assert ran.returncode == cli.Exit.USAGE
    assert ran.stderr == "orch: No such command 'kyes'. Did you mean 'keys'? See 'orch --help'.\n"


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"orch {__version__}\n"


def test_the_help_costs_little(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    spent = []
    for _ in range(3):  # the least of three: the first may have to compile, and others run beside it
        with open(os.devnull, "w") as nowhere:
            child = subprocess.Popen([sys.executable, "-m", "proxy", "--help"], stdout=nowhere, env=environ)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        spent.append(used.ru_utime + used.ru_stime)
    assert min(spent) <= HELP_CPU_S


@pytest.mark.parametrize("name", cli.TABLE)
def test_every_command_answers_in_json_when_asked(name: str) -> None:
    command = cli.load(name)
    for leaf in getattr(command, "commands", {"": command}).values():
        assert "--json" in {option for parameter in leaf.params for option in parameter.opts}, leaf.name


@pytest.mark.parametrize("name", cli.TABLE)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.load(name)
    leaves = list(getattr(command, "commands", {"": command}))
    for leaf in leaves:
        assert cli.run([part for part in (name, leaf, "--help") if part]) == 0
        assert f"Example: orch {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nope"], ["keys"], ["keys", "nope"], ["users", "grant"], ["check", "--nope"], ["check", "x"]]
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == cli.Exit.USAGE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--help'" in err


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    assert "Exit codes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadRequest("no"), 2, "no"),
        (Forbidden("may\nnot"), 2, "may not"),
        (ConfigError([Problem("a.yaml", 1, 2, "x", "bad")]), 2, "a.yaml:1:2 x: bad"),
        (ConfigError([Problem("a", 1, 2, "", "b")] * 3), 2, "a:1:2 b (2 more; `orch check` lists all)"),
        (JournalUnavailable("gone"), 3, "gone"),
        (Overloaded("full"), 3, "full"),
        (OrchError("other"), 1, "other"),
        (JournalUnavailable("x: disk is full"), 3, "x: disk is full; make room and run it again"),
        (JournalUnavailable("disk is full; stop it"), 3, "disk is full; stop it"),
        (
            OSError(28, "No space left on device", "a.yaml"),
            1,
            "a.yaml: no space left on device; make room and run it again",
        ),
        (FileNotFoundError(2, "No such file or directory", "b"), 1, "b: no such file or directory"),
        (ExceptionGroup("g", [ExceptionGroup("h", [BadRequest("inner")])]), 2, "inner"),
        (
            RuntimeError("boom\x1b[31m"),
            1,
            "internal error, please report it: RuntimeError: boom\N{REPLACEMENT CHARACTER}[31m",
        ),
    ],
)
def test_every_error_has_its_code_and_one_line(error: Exception, code: int, line: str) -> None:
    assert cli.explained(cli.cause(error)) == (code, line)


def test_a_reader_that_leaves_is_not_a_traceback() -> None:
    source = "import sys; from proxy.cli import run; sys.exit(run(['--help']))"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        ran = subprocess.run(
            [sys.executable, "-c", source], stdout=closed, stderr=subprocess.PIPE, env=environ, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr == b""
