"""What of the store would keep the proxy from serving."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.cli import storecheck
from proxy.cli.findings import Finding, Level
from proxy.journal import lock
from tests.cli.conftest import Orch
from tests.cli.ledger_parts import with_calls

ROOT = str(Path(__file__).resolve().parents[2])


def worst(findings: list[Finding]) -> Finding:
    order = list(Level)
    return max(findings, key=lambda finding: order.index(finding.level))


def place(database: Path) -> Finding:
    return worst(list(storecheck.place(database)))


def test_a_place_that_is_and_one_that_will_be_are_fine(orch: Orch, tmp_path: Path) -> None:
    assert place(tmp_path / "data/orch.db").level is Level.OK
    assert "will be made" in next(storecheck.place(tmp_path / "not/yet/orch.db")).says


def test_a_file_and_a_directory_in_each_others_place_are_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert f"{tmp_path}/data is a file where" in place(tmp_path / "data/orch.db").says
    assert "is a directory where" in place(tmp_path).says


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_place_that_this_user_may_not_write_fails(tmp_path: Path) -> None:
    source = f"""
import os, sys
sys.path.insert(0, {ROOT!r})
from pathlib import Path
from proxy.cli import storecheck
os.setuid(65534)
print(*storecheck.place(Path("/etc/data/orch.db")), sep="\\n")
"""
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "fail  store: /etc cannot be written -> chown it to user 65534" in ran.stdout


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize(("free", "level"), [(10**6, Level.FAIL), (10**8, Level.WARN), (10**10, Level.OK)])
def test_room_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free))
    assert place(tmp_path / "orch.db").level is level


def test_the_file_system_is_the_one_mounted_deepest(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} nfs4 rw 0 0\nc /elsewhere tmpfs rw 0 0\n")
    assert storecheck._file_system(tmp_path, mounts) == "nfs4"
    assert storecheck._file_system(Path("/"), mounts) == "ext4"
    assert storecheck._file_system(tmp_path, tmp_path / "none") is None


def test_a_store_on_a_network_file_system_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storecheck, "_file_system", lambda folder: "nfs")
    assert place(tmp_path / "orch.db").level is Level.FAIL


def test_the_schema_is_looked_at(orch: Orch, tmp_path: Path) -> None:
    database = tmp_path / "data/orch.db"
    assert storecheck.books(database).level is Level.OK
    assert storecheck.books(tmp_path / "none.db").level is Level.OK
    for version, level in (("0001", Level.WARN), ("9999", Level.FAIL)):
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
        assert storecheck.books(database).level is level


def test_a_damaged_file_fails(tmp_path: Path) -> None:
    (tmp_path / "orch.db").write_bytes(b"not a database" * 100)
    assert storecheck.books(tmp_path / "orch.db").level is Level.FAIL
    assert storecheck.latest_ms(tmp_path / "orch.db") is None


def test_who_writes_is_named(orch: Orch, tmp_path: Path) -> None:
    database = tmp_path / "data/orch.db"
    assert storecheck.held(database).says == "no process writes the store"
    with lock.locked(database, socket=None, owner="somebody"):
        assert "somebody" in storecheck.held(database).says


def test_the_secret_and_the_records_are_their_owners_only(orch: Orch, tmp_path: Path) -> None:
    database, secret = tmp_path / "data/orch.db", tmp_path / "data/secret"
    assert [finding.level for finding in storecheck.permissions(database, {})] == [Level.OK]
    secret.chmod(0o644)
    database.chmod(0o640)
    assert [finding.level for finding in storecheck.permissions(database, {})] == [Level.FAIL, Level.WARN]
    secret.unlink()
    assert next(storecheck.permissions(database, {})).level is Level.WARN


def test_a_secret_of_the_environment_is_looked_at_and_never_shown(tmp_path: Path) -> None:
    for given, level in (("canary" * 4, Level.OK), ("canary", Level.FAIL)):
        (found,) = storecheck.permissions(tmp_path / "none.db", {"ORCH_SECRET": given})
        assert found.level is level
        assert "canary" not in str(found)


def test_the_latest_time_of_the_books_is_read(orch: Orch, tmp_path: Path) -> None:
    with_calls(tmp_path / "data/orch.db")
    assert (storecheck.latest_ms(tmp_path / "data/orch.db") or 0) > 1_700_000_000_000
    assert storecheck.latest_ms(tmp_path / "none.db") is None
