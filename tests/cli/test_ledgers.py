"""Where commands find the ledger: here, through the proxy that holds it, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.call import Opening
from proxy.cli.ledgers import opening, stored
from proxy.errors import BadRequest
from proxy.journal import lock
from proxy.journal.lock import holder
from tests.cli.conftest import Orch


def test_reading_where_there_is_no_ledger_says_so_and_makes_none(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("store: sqlite:///elsewhere/x.db\n")
    ran = orch("users", "balance", "ana", "--config", "other.yaml")
    assert ran.code == 3
    assert "no ledger" in ran.err
    assert not (tmp_path / "elsewhere").exists()


def test_a_ledger_that_is_damaged_is_the_stores_error(orch: Orch, tmp_path: Path) -> None:
    for file in (tmp_path / "data").glob("orch.db-*"):
        file.unlink()
    (tmp_path / "data" / "orch.db").write_bytes(b"not a database" * 100)
    assert orch("users", "balance", "ana").code == 3
    assert orch("users", "grant", "ana", "5").code == 3


def test_a_configuration_that_cannot_be_used_is_named_by_line(orch: Orch) -> None:
    Path("config.yaml").write_text("stor: sqlite:///x.db\n")
    ran = orch("users", "balance", "ana")
    assert ran.code == 2
    assert "config.yaml:1:1" in ran.err


def test_a_secret_that_others_can_read_is_refused_before_a_key_is_made(orch: Orch) -> None:
    Path("data/secret").chmod(0o644)
    ran = orch("keys", "create", "--service")
    assert ran.code == 2
    assert "chmod 600" in ran.err


def test_the_lock_is_let_go_after_each_command(orch: Orch, tmp_path: Path) -> None:
    assert orch("users", "grant", "ana", "5").code == 0
    assert holder(tmp_path / "data" / "orch.db") is None


def test_a_holder_that_never_answers_is_named_and_nothing_changes(
    orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.cli.ledgers.HOLDER_WAIT_S", 0.1)
    with lock.locked(tmp_path / "data" / "orch.db", socket=None, owner="somebody"):
        ran = orch("users", "grant", "ana", "5")
    assert ran.code == 3
    assert "somebody" in ran.err


def test_a_plan_is_taken_from_the_price_list(orch: Orch) -> None:
    assert opening(None, "free", 7).points == 7
    assert opening(None, None, None).points > 0
    with pytest.raises(BadRequest, match="free"):
        opening(None, "gold", 7)


def test_without_a_price_list_a_plan_is_only_a_name(orch: Orch) -> None:
    Path("config.yaml").write_text("policies: chain.yaml\n")
    Path("chain.yaml").write_text("- {kind: auth}\n")
    assert opening(None, "gold", 7) == Opening("gold", 7)
    assert opening(None, None, None) == Opening("free", 0)


BROKEN_ELSEWHERE = """\
store: sqlite:///data/orch.db
upstreams: {openai: {api_key: "${NOT_SET_HERE}"}}
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "create", "ben"),
        ("users", "grant", "ana", "5"),
        ("users", "balance", "ana"),
        ("users", "list"),
        ("users", "show", "ana"),
        ("users", "history", "ana"),
        ("users", "erase", "ana", "--yes"),
        ("keys", "create", "--user", "ana"),
        ("keys", "list"),
        ("calls", "list"),
        ("calls", "top"),
        ("report", "usage"),
        ("ledger", "verify"),
        ("db", "status"),
        ("db", "upgrade"),
        ("db", "backup", "copy.db"),
    ],
    ids=" ".join,
)
def test_the_ledger_is_looked_after_from_a_shell_without_the_providers_keys(
    orch: Orch, arguments: tuple[str, ...]
) -> None:
    Path("config.yaml").write_text(BROKEN_ELSEWHERE)
    assert orch("check").code == 1
    assert orch(*arguments).code == 0


def test_the_store_is_beside_the_configuration_that_names_it(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.yaml").write_text("store: sqlite:///x/y.db\n")
    assert stored(tmp_path / "sub" / "config.yaml").database == tmp_path / "sub" / "x" / "y.db"
