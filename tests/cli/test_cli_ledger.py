"""``orch ledger verify``: says that the books balance, or which rows do not, and exits by it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.cli.conftest import Orch


def spoil(database: Path) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 'app/ana'")
    connection.close()


def test_a_sound_ledger_is_ok(orch: Orch) -> None:
    ran = orch("ledger", "verify")
    assert (ran.code, ran.out) == (0, "ok: every invariant holds\n")
    assert json.loads(orch("ledger", "verify", "--json").out) == []


def test_a_broken_ledger_exits_with_1_and_shows_the_rows(orch: Orch, tmp_path: Path) -> None:
    spoil(tmp_path / "data" / "orch.db")
    ran = orch("ledger", "verify")
    assert ran.code == 1
    assert "app/ana" in ran.out
    shown = orch("ledger", "verify", "--json")
    assert shown.code == 1
    assert any("app/ana" in row["row"] for row in json.loads(shown.out))
