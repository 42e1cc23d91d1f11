"""The lock beside a database: one holder, named while it lives, harmless once it is dead."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.errors import JournalUnavailable
from proxy.journal.lock import Holder, StoreLocked, holder, lock_path, locked, socket_path

HOLD = """
import sys
import tempfile
from pathlib import Path
from proxy.journal.lock import locked
with locked(Path(sys.argv[1]), socket=None, owner="child"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="o") as directory:
        yield Path(directory)


def held_by_a_child(database: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def ended(child: subprocess.Popen[str], how: signal.Signals) -> None:
    child.send_signal(how)
    child.communicate()


def test_the_holder_is_named_while_it_holds(tmp_path: Path) -> None:
    database = tmp_path / "data" / "orch.db"
    assert holder(database) is None
    with locked(database, socket=tmp_path / "s.sock", owner="proxy"):
        assert holder(database) == Holder(pid=os.getpid(), socket=str(tmp_path / "s.sock"), owner="proxy")
    assert holder(database) is None
    assert lock_path(database).exists()
    assert stat.S_IMODE(lock_path(database).stat().st_mode) == 0o600


def test_a_second_holder_is_refused_and_told_who_holds(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    child = held_by_a_child(database)
    try:
        with (
            pytest.raises(StoreLocked, match=str(child.pid)) as caught,
            locked(database, socket=None, owner="x", wait_s=0),
        ):
            pass
        assert caught.value.holder == Holder(pid=child.pid, socket=None, owner="child")
    finally:
        ended(child, signal.SIGTERM)


def test_a_killed_holder_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    ended(held_by_a_child(database), signal.SIGKILL)
    assert "child" in lock_path(database).read_text()
    assert holder(database) is None
    with locked(database, socket=None, owner="next", wait_s=0):
        now = holder(database)
        assert now is not None
        assert now.owner == "next"


def test_two_names_of_one_database_are_one_lock(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with locked(tmp_path / "real" / "orch.db", socket=None, owner="a"):
        second = locked(tmp_path / "link" / "orch.db", socket=None, owner="b", wait_s=0)
        with pytest.raises(StoreLocked), second:
            pass


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    with locked(database, socket=None, owner="parent"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        # The kernel closes the child's copy a moment after Popen returns; a child that kept it would keep it for good.
        with locked(database, socket=None, owner="next", wait_s=10):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")


def test_a_holder_that_goes_within_the_wait_is_waited_for(tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    child = held_by_a_child(database)
    child.terminate()
    with locked(database, socket=None, owner="next", wait_s=10):
        assert child.wait() == -signal.SIGTERM
    child.communicate()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "socket": null, "owner": ""}', "\xff"])
def test_a_holder_that_has_not_said_who_it_is_yet_is_still_a_holder(tmp_path: Path, content: str) -> None:
    database = tmp_path / "orch.db"
    with locked(database, socket=None, owner="starting"):
        lock_path(database).write_text(content)
        assert holder(database) is None
        with pytest.raises(StoreLocked, match="another process"), locked(database, socket=None, owner="x", wait_s=0):
            pass


def test_a_directory_that_cannot_be_made_is_said() -> None:
    with (
        pytest.raises(JournalUnavailable, match="cannot be opened"),
        locked(Path("/proc/none/db"), socket=None, owner="x"),
    ):
        pass


def test_a_socket_directory_that_others_own_or_read_is_refused(
    tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))
    database = tmp_path / ("d" * 100) / "orch.db"
    directory = socket_path(database).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert socket_path(database) != socket_path(database.with_name("other.db"))
    directory.chmod(0o755)
    with pytest.raises(JournalUnavailable, match="TMPDIR"):
        socket_path(database)


def test_a_file_where_a_directory_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with (
        pytest.raises(JournalUnavailable, match=f"^{tmp_path}/data is a file where the store needs a directory"),
        locked(tmp_path / "data" / "deep" / "orch.db", socket=None, owner="x"),
    ):
        pass
