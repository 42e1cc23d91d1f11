"""What tests of whole proxies share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store of today's schema: migrating one per test would be most of the tests' time."""
    database = tmp_path_factory.mktemp("migrated") / "orch.db"
    subprocess.run([sys.executable, "-m", "proxy.journal.migrate", str(database)], check=True)
    return database


@pytest.fixture
def store(tmp_path: Path, migrated: Path) -> Path:
    """``orch.db`` in the test's own folder, ready to use."""
    return Path(shutil.copy(migrated, tmp_path / "orch.db"))
