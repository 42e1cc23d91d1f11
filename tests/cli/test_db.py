"""``orch db``: upgraded in one step, copied while it is written, told how it is."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from proxy.journal import lock
from proxy.journal.upgrade import VERSIONS
from tests.cli.conftest import Orch
from tests.cli.ledger_parts import with_calls


def test_the_state_of_the_store_is_told(orch: Orch, tmp_path: Path) -> None:
    with_calls(tmp_path / "data/orch.db")
    told = json.loads(orch("db", "status", "--json").out)
    assert told["path"] == str(tmp_path / "data/orch.db")
    assert (told["schema"], told["own_schema"]) == (VERSIONS[-1], VERSIONS[-1])
    assert (told["accounts"], told["calls"], told["open_calls"], told["written_by"]) == (2, 5, 0, None)
    assert f"schema\t{VERSIONS[-1]}" in orch("db", "status").out.splitlines()


def test_who_writes_the_store_is_told(orch: Orch, tmp_path: Path) -> None:
    with lock.locked(tmp_path / "data/orch.db", socket=None, owner="somebody"):
        assert "(somebody)" in json.loads(orch("db", "status", "--json").out)["written_by"]


def test_a_copy_is_one_file_that_is_a_ledger(orch: Orch, tmp_path: Path) -> None:
    with lock.locked(tmp_path / "data/orch.db", socket=None, owner="a proxy"):
        ran = orch("db", "backup", "copy.db")
    assert ran.code == 0
    assert ran.out.startswith(f"{tmp_path}/copy.db: ")
    assert "secret" in ran.err
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    Path("config.yaml").write_text("store: sqlite:///copy.db\n")
    assert json.loads(orch("users", "balance", "ana", "--json").out)["available"] == 25


def test_into_a_directory_it_is_named_by_the_time(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    made = Path(json.loads(orch("db", "backup", "backups", "--json").out)["to"])
    assert made.parent == tmp_path / "backups"
    assert made.name.startswith("orch-2")
    assert made.exists()


@pytest.mark.parametrize(
    ("to", "code", "says"),
    [("data/orch.db", 2, "exists"), ("nowhere/copy.db", 2, "cannot be written to"), ("/proc/copy.db", 2, "/proc")],
)
def test_a_place_that_cannot_be_had_is_one_line(orch: Orch, to: str, code: int, says: str) -> None:
    ran = orch("db", "backup", to)
    assert ran.code == code
    assert says in ran.err


def test_a_store_of_today_needs_no_upgrade_even_while_it_is_written(orch: Orch, tmp_path: Path) -> None:
    with lock.locked(tmp_path / "data/orch.db", socket=None, owner="a proxy"):
        ran = orch("db", "upgrade")
    assert ran.code == 0
    assert "nothing was changed" in ran.out


def test_where_there_is_no_store_the_upgrade_makes_one(orch: Orch) -> None:
    Path("config.yaml").write_text("store: sqlite:///new/orch.db\n")
    assert json.loads(orch("db", "upgrade", "--json").out)["before"] is None
    assert orch("ledger", "verify").code == 0


def older(database: Path) -> None:
    """Make it look like one of the first schema; upgrading what is not there fails in the middle, and changes nothing."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (VERSIONS[0],))


def test_an_older_store_is_told_and_not_upgraded_under_a_running_proxy(orch: Orch, tmp_path: Path) -> None:
    older(tmp_path / "data/orch.db")
    assert json.loads(orch("db", "status", "--json").out)["schema"] == VERSIONS[0]
    with lock.locked(tmp_path / "data/orch.db", socket=None, owner="a proxy"):
        ran = orch("db", "upgrade")
    assert ran.code == 3
    assert "a proxy" in ran.err


def test_an_upgrade_that_fails_is_one_line_of_the_stores(orch: Orch, tmp_path: Path) -> None:
    older(tmp_path / "data/orch.db")
    ran = orch("db", "upgrade")
    assert ran.code == 3
    assert "cannot be brought to schema" in ran.err
    assert json.loads(orch("db", "status", "--json").out)["schema"] == VERSIONS[0]
