"""A directory with an empty ledger, and ``orch`` as a function that returns what it printed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy import cli


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str


Orch = Callable[..., Ran]

PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "ORCH_SECRET", "ORCH_ADMIN_KEY")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``data`` with a ledger that one user was created in; migrating takes a process, so it is done once."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in PROVIDER_KEYS:
            patch.delenv(name, raising=False)
        assert cli.run(["users", "create", "ana", "--energy", "25"]) == 0
    return folder / "data"


@pytest.fixture
def orch(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Orch:
    """Run a command in ``tmp_path``, beside a ledger in which ``ana`` has 25 points."""
    shutil.copytree(migrated, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for name in PROVIDER_KEYS:
        monkeypatch.delenv(name, raising=False)
    capfd.readouterr()

    def run(*arguments: str) -> Ran:
        code = cli.run(arguments)
        out, err = capfd.readouterr()
        assert err.count("\n") <= 1 or arguments[0] == "check"
        assert "Traceback" not in err
        return Ran(code, out, err)

    return run
