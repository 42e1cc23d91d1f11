"""From nothing to this program's schema; and what cannot be opened is said in words."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from proxy.errors import OrchError
from proxy.journal import migrate
from proxy.journal.schema import metadata
from proxy.journal.sqlite import open_sqlite, read_only
from proxy.journal.upgrade import VERSIONS, bring_up, schema_version
from tests.journal.contract import fresh_database


async def test_a_new_file_gets_the_whole_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "orch.db"
    assert schema_version(path) is None
    await bring_up(path)
    assert schema_version(path) == VERSIONS[-1]
    with closing(sqlite3.connect(path)) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(metadata.tables) < found


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    path = fresh_database(tmp_path)
    before = path.read_bytes()
    migrate.migrate(path)
    assert path.read_bytes() == before


def test_the_migrations_make_what_the_schema_says(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{fresh_database(tmp_path)}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_table_is_strict(tmp_path: Path) -> None:
    with closing(sqlite3.connect(fresh_database(tmp_path))) as connection:
        strict = {name: strict for _, name, _, _, _, strict in connection.execute("PRAGMA table_list")}
    assert {name: strict[name] for name in metadata.tables} == dict.fromkeys(metadata.tables, 1)


def test_the_program_knows_every_version_there_is() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == VERSIONS


def test_the_migration_says_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orch.db"
    path.write_bytes(b"not a database" * 100)
    assert migrate.main([str(path)]) == 1
    assert "not a database" in capsys.readouterr().err


async def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "orch.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW calls AS SELECT 1")
    with pytest.raises(OrchError, match="cannot be brought to schema"):
        await bring_up(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("calls",)]


def _newer(path: Path) -> None:
    fresh_database(path.parent, path.name)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def _damaged(path: Path) -> None:
    fresh_database(path.parent, path.name)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_newer, "newer version"),
        (_foreign, "not a ledger of this program"),
        (_garbage, "not a database"),
        (_damaged, "malformed"),
        (_folder, "cannot be"),
    ],
)
async def test_what_is_no_ledger_of_ours_is_refused_in_words(tmp_path: Path, make: object, words: str) -> None:
    path = tmp_path / "orch.db"
    assert callable(make)
    make(path)
    with pytest.raises(OrchError, match=words):
        await open_sqlite(path, durability="strict", owner="me")
    with pytest.raises(OrchError):
        read_only(path)


async def test_a_place_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OrchError, match="cannot be opened"):
        await open_sqlite(tmp_path / "file" / "orch.db", durability="strict", owner="me")


def test_a_reader_of_nothing_is_told_that_the_proxy_makes_it(tmp_path: Path) -> None:
    with pytest.raises(OrchError, match="when it starts"):
        read_only(tmp_path / "orch.db")
    assert not (tmp_path / "orch.db").exists()
