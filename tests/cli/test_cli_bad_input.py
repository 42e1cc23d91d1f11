"""What goes wrong where it is run is one line that says what, where and what to do, with the right exit code."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import PROVIDER_KEYS, Orch, Ran

ROOT = Path(__file__).resolve().parents[2]

LIBC = ctypes.CDLL(None)
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h

READS = [
    ("users", "list"),
    ("users", "show", "ana"),
    ("users", "balance", "ana"),
    ("users", "history", "ana"),
    ("keys", "list"),
    ("calls", "list"),
    ("calls", "show", "x"),
    ("calls", "tail", "--count", "1"),
    ("calls", "top"),
    ("report", "usage"),
    ("ledger", "verify"),
    ("db", "status"),
    ("db", "backup", "copy.db"),
]
WRITES = [
    ("users", "create", "ben"),
    ("users", "grant", "ana", "5"),
    ("users", "erase", "ana", "--yes"),
    ("keys", "create", "--service"),
    ("keys", "revoke", "x"),
    ("keys", "rotate", "x"),
    ("db", "upgrade"),
]
EVERY = pytest.mark.parametrize("command", [*READS, *WRITES], ids=" ".join)


@pytest.fixture
def folder(migrated: Path) -> Iterator[Path]:
    """A folder that any user may look into, with a ledger."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(migrated, Path(name) / "data")
        Path(name).chmod(0o755)
        yield Path(name)


def ran(folder: Path, *command: str, file_bytes_max: int = -1, out: str = "") -> Ran:
    """A command in a process of its own: permissions count for it even as root, and what it can write is bounded."""

    def bound() -> None:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if file_bytes_max >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

    environ = {name: value for name, value in os.environ.items() if name not in PROVIDER_KEYS}
    with open(out or os.devnull, "w") as elsewhere:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *command],
            cwd=folder,
            env=environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=elsewhere if out else subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            preexec_fn=bound,
            check=False,
        )
    assert done.stderr.count("\n") <= 1, done.stderr
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout or "", done.stderr)


# --- the configuration ------------------------------------------------------------------------------------------------


@EVERY
def test_a_configuration_that_is_not_there_is_named(orch: Orch, command: tuple[str, ...]) -> None:
    said = orch(*command, "--config", "nope.yaml")
    assert said.code == 2
    assert said.err == "orch: nope.yaml:1:1 cannot be read: No such file or directory\n"


@EVERY
def test_a_directory_in_its_place_is_named(orch: Orch, command: tuple[str, ...]) -> None:
    Path("config.yaml").mkdir()
    said = orch(*command)
    assert said.code == 2
    assert said.err == "orch: config.yaml:1:1 is a directory: a file is needed here\n"


@EVERY
def test_a_misspelt_store_is_not_another_ledger(orch: Orch, command: tuple[str, ...]) -> None:
    Path("config.yaml").write_text("stor: sqlite:///x.db\n")
    said = orch(*command)
    assert said.code == 2
    assert "did you mean 'store'?" in said.err


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_a_ledger_that_is_not_there_is_not_made_by_reading(
    orch: Orch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    Path("config.yaml").write_text("store: sqlite:///new/orch.db\n")
    said = orch(*command)
    assert said.code == 3
    assert f"there is no ledger at {tmp_path}/new/orch.db yet" in said.err
    assert not (tmp_path / "new").exists()


@EVERY
def test_a_file_in_the_place_of_the_data_directory_is_named(
    orch: Orch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    Path("file").write_text("")
    Path("config.yaml").write_text("store: sqlite:///file/orch.db\n")
    said = orch(*command)
    assert said.code == 3
    assert f"{tmp_path}/file is a file where the store needs a directory" in said.err


@EVERY
def test_a_directory_in_the_place_of_the_ledger_is_named(orch: Orch, tmp_path: Path, command: tuple[str, ...]) -> None:
    Path("config.yaml").write_text("store: sqlite:///data\n")
    said = orch(*command)
    assert said.code == 3
    assert f"{tmp_path}/data is a directory where the store is a file" in said.err


@EVERY
def test_a_ledger_of_a_newer_program_is_left_as_it_is(orch: Orch, tmp_path: Path, command: tuple[str, ...]) -> None:
    with closing(sqlite3.connect("data/orch.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    said = orch(*command)
    assert said.code == 3
    assert f"{tmp_path}/data/orch.db has schema 9999" in said.err
    assert "newer version" in said.err


@EVERY
def test_a_damaged_ledger_is_said_with_what_to_do(orch: Orch, tmp_path: Path, command: tuple[str, ...]) -> None:
    for file in (tmp_path / "data").glob("orch.db-*"):
        file.unlink()
    (tmp_path / "data/orch.db").write_bytes(b"not a database" * 100)
    said = orch(*command)
    assert said.code == 3
    assert str(tmp_path / "data/orch.db") in said.err
    assert "restore a backup" in said.err


def test_a_database_of_another_program_is_left_alone(orch: Orch, tmp_path: Path) -> None:
    with closing(sqlite3.connect("other.db")) as connection, connection:
        connection.execute("CREATE TABLE t (a)")
    Path("config.yaml").write_text("store: sqlite:///other.db\n")
    for command in (("users", "list"), ("users", "create", "ben"), ("db", "upgrade")):
        said = orch(*command)
        assert said.code == 3
        assert "not a ledger of this program" in said.err


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("users", "grant", "ana", "5"), ("db", "upgrade"), ("serve",)], ids=" ".join)
def test_a_full_disk_is_one_line_of_the_stores(folder: Path, command: tuple[str, ...]) -> None:
    shutil.rmtree(folder / "data")
    said = ran(folder, *command, file_bytes_max=60_000)
    assert said.code == 3
    assert "look for room" in said.err
    assert f"{folder}/data/orch.db" in said.err


def test_a_full_disk_where_not_even_the_lock_can_be_written(folder: Path) -> None:
    said = ran(folder, "users", "grant", "ana", "5", file_bytes_max=0)
    assert said.code == 3
    assert said.err.startswith(f"orch: {folder}/data/orch.db.lock: cannot be written")


def test_a_backup_onto_a_full_disk_leaves_nothing(folder: Path) -> None:
    said = ran(folder, "db", "backup", "copy.db", file_bytes_max=40_000)
    assert said.code == 3
    assert "look for room" in said.err
    assert [file.name for file in folder.iterdir()] == ["data"]


def test_a_configuration_onto_a_full_disk_leaves_no_half_file(folder: Path) -> None:
    said = ran(folder, "init", "new", file_bytes_max=100)
    assert said.code == 1
    assert said.err.startswith("orch: new/config.yaml: file too large; make room")
    assert [file for file in (folder / "new").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("command", [("users", "list"), ("--help",), ("keys", "--help")], ids=" ".join)
def test_an_output_that_takes_nothing_more_is_said(folder: Path, command: tuple[str, ...]) -> None:
    said = ran(folder, *command, out="/dev/full")
    assert said.code == 1
    assert said.err == "orch: no space left on device; make room and run it again\n"


def test_a_working_directory_that_is_gone_is_said(orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in (("users", "list"), ("check",), ("models",)):
        said = orch(*command)
        assert said.code == 1
        assert "the working directory is not there" in said.err


# --- permissions and ports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("users", "list"), 3),
        (("users", "grant", "ana", "5"), 3),
        (("ledger", "verify"), 3),
        (("db", "status"), 3),
        (("db", "upgrade"), 3),
        (("db", "backup", "copy.db"), 3),
        (("calls", "tail", "--count", "1"), 3),
        (("keys", "create", "--service"), 3),
        (("reload",), 3),
        (("init", "data/new"), 1),
        (("serve", "--listen", "127.0.0.1:0"), 3),
        (("doctor",), 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", [0o000, 0o500], ids=oct)
def test_what_may_not_be_read_or_written_is_said(folder: Path, command: tuple[str, ...], code: int, mode: int) -> None:
    for file in (folder / "data").iterdir():
        file.chmod(mode & 0o400)
    (folder / "data").chmod(mode)
    try:
        said = ran(folder, *command)
    finally:
        (folder / "data").chmod(0o700)
    if mode and command[0] in ("users", "ledger", "db", "calls") and said.code == 0:
        assert command not in WRITES, "who may only read, only read"
        return
    if command == ("reload",) and mode:
        assert "no proxy runs" in said.err  # its lock can be looked at
        return
    assert said.code == code, said.err
    assert "internal error" not in said.err
    assert any(word in said.err + said.out for word in ("ermission denied", "as the user who", "chown"))


@pytest.mark.parametrize("command", [("serve", "--listen"), ("demo", "--exit", "--port")], ids=" ".join)
def test_a_taken_port_is_told_with_who_has_it(orch: Orch, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = orch(*command, f"127.0.0.1:{port}" if command[0] == "serve" else str(port))
    assert said.code in (1, 2)
    assert f"process {os.getpid()} (" in said.err
    assert "another" in said.err


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("users", "grant", "ana", "5.5"),
        ("users", "grant", "ana", "0"),
        ("users", "grant", "ana", "5", "--reason", ""),
        ("users", "grant", "ana", "5", "--ref", "x" * 201),
        ("users", "create", "b", "--plan", ""),
        ("users", "create", "\udcff"),
        ("users", "history", "ana", "--before", "0"),
        ("users", "list", "--limit", "many"),
        ("users", "list", "--namespace", ""),
        ("report", "usage", "--namespace", "A B"),
        ("keys", "create", "--service", "--operations", "images"),
        ("keys", "create", "--service", "--name", ""),
        ("keys", "rotate", "x", "--grace", "soon"),
        ("keys", "rotate", "x", "--grace", "9999d"),
        ("keys", "revoke", ""),
        ("calls", "tail", "--every", "0"),
        ("calls", "top", "--by", "colour"),
        ("demo", "--port", "0"),
        ("report", "usage", "--by", "colour"),
        ("serve", "--listen", "nonsense"),
        ("users", "erase", "ana"),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_refused_in_words(orch: Orch, command: tuple[str, ...]) -> None:
    said = orch(*command)
    assert said.code in (1, 2)
    assert said.out == ""
    assert said.err.startswith("orch: ")
    for word in ("Input should", "String should", "internal error", "Value error", "type=", "validation error"):
        assert word not in said.err
