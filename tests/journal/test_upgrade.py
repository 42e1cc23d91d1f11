"""From nothing to this program's schema; and what cannot be opened is said in words."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from proxy.errors import OrchError
from proxy.journal import migrate
from proxy.journal.listing import CallFilter
from proxy.journal.port import Balance, Grant
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


FIRST_LEDGER = """
INSERT INTO accounts VALUES ('main/alice', 'main', 'alice', 'free', 18, 4, 1700000000000);
INSERT INTO accounts VALUES ('main/bob', 'main', 'bob', 'free', 0, 0, 1700000000001);
INSERT INTO grants VALUES (1, 'main/alice', 25, 18, 'plan', 10, NULL, 'plan:main/alice:opening', 1700000000000, NULL);
INSERT INTO grants VALUES (7, 'main/bob', 3, 0, 'pack', 40, 'thanks', 'order-1', 1700000000000, 1700000000003);
INSERT INTO calls (id, account, namespace, user_id, key_id, operation, requested_model, state, how, points_held,
    points_charged, policy_version, stream, created_at, closed_at)
VALUES ('settled', 'main/alice', 'main', 'alice', 'k', 'chat', 'm', 'closed', 'answered', 10, 7, 'p', 0, 1, 2),
    ('open', 'main/alice', 'main', 'alice', 'k', 'chat', 'm', 'open', NULL, 4, 0, 'p', 0, 3, NULL),
    ('refused', 'main/carl', 'main', 'carl', 'k', 'chat', 'm', 'refused', NULL, 0, 0, 'p', 0, 4, 4),
    ('bob', 'main/bob', 'main', 'bob', 'k', 'chat', 'm', 'closed', 'answered', 3, 3, 'p', 0, 5, 6);
UPDATE calls SET owner = 'gone' WHERE id = 'open';
INSERT INTO entries VALUES (1, 'grant:1', NULL, 'main/alice', 1, 'grant', 25, 25, 1);
INSERT INTO entries VALUES (2, 'grant:7', NULL, 'main/bob', 7, 'grant', 3, 3, 1);
INSERT INTO entries VALUES (3, 'settle:settled:0', 'settled', 'main/alice', 1, 'settle', -7, 18, 2);
INSERT INTO entries VALUES (9, 'settle:bob:0', 'bob', 'main/bob', 7, 'settle', -3, 0, 6);
"""


def first_ledger(path: Path) -> Path:
    """A ledger of the first schema, with something in every table."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(migrate.config(connection), "0001")
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FIRST_LEDGER)
    return path


async def test_a_ledger_of_the_first_schema_keeps_its_books_and_loses_its_names(tmp_path: Path) -> None:
    path = first_ledger(tmp_path / "orch.db")
    await bring_up(path)
    async with read_only(path) as reader:
        assert await reader.verify() == []
        assert await reader.balance("main/alice") == Balance(account="main/alice", plan="free", balance=18, held=4)
        assert [row.op_ref for row in await reader.entries("main/bob")] == ["settle:bob:0", "grant:7"]
        (opening,) = await reader.grants("main/alice")
        assert opening.source_ref == "plan:1:opening"
        row = await reader.call("open")
        assert row is not None
        assert (row["state"], row["points_held"], row["owner"]) == ("open", 4, "gone")
        assert [row["id"] for row in await reader.calls(CallFilter(account="main/carl"))] == ["refused"]
    with closing(sqlite3.connect(path)) as connection:
        payers = connection.execute("SELECT id, payer FROM calls ORDER BY rowid").fetchall()
        assert payers == [("settled", 1), ("open", 1), ("refused", None), ("bob", 2)]
        assert connection.execute("SELECT user_id, model FROM ai_usage_logs").fetchall() == []
        assert not [line for line in connection.iterdump() if "old_" in line]
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("UPDATE entries SET points = 1")


async def test_a_ledger_of_the_first_schema_goes_on_where_it_was(tmp_path: Path) -> None:
    path = first_ledger(tmp_path / "orch.db")
    store = await open_sqlite(path, durability="relaxed", owner="me")
    assert await store.balance("main/alice") == Balance(account="main/alice", plan="free", balance=18, held=0)
    await store.grant(Grant(account="main/bob", points=5, kind="pack"))
    newest, *_ = await store.entries("main/bob")
    assert (newest.seq, newest.grant_id, newest.balance_after) == (10, 8, 5)
    assert await store.verify() == []
    await store.aclose()
