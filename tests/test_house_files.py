"""The house rules of the repository as a test: every module has its test file, what tracked files say, what the locks pin."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python_files(folder: str) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in sorted((ROOT / folder).rglob("*.py"))]


TESTED_ELSEWHERE = {
    "proxy/journal/memory.py": "tests/journal/test_contract.py",
    "proxy/journal/port.py": "tests/journal/test_contract.py",
    "proxy/journal/rules.py": "tests/journal/test_contract.py",
    "proxy/journal/clock.py": "tests/journal/test_sqlite.py",
    "proxy/journal/migrate.py": "tests/journal/test_upgrade.py",
    "proxy/journal/sqlite.py": "tests/journal/test_contract.py",
    "proxy/journal/ledger.py": "tests/journal/test_contract.py",
    "proxy/journal/remote.py": "tests/journal/test_control.py",
    "proxy/journal/retention.py": "tests/journal/test_flood.py",
    "proxy/journal/memory_records.py": "tests/journal/test_records.py",
    "proxy/journal/records_sql.py": "tests/journal/test_records.py",
    "proxy/journal/memory_listing.py": "tests/journal/test_listing.py",
    "proxy/journal/listing_sql.py": "tests/journal/test_listing.py",
    "proxy/journal/listing_sqlite.py": "tests/journal/test_listing.py",
}
"""Modules whose promise is one contract, tested once for all that keep it."""


def untested(modules: list[str], tests: set[str]) -> list[str]:
    """Modules without a test file: ``proxy/a/b.py`` is tested by ``tests/a/test_b.py`` or ``tests/a/test_a_b.py``.

    A package's ``__init__`` and ``__main__`` are tested by the files of what they gather.
    """
    missing = []
    for module in modules:
        folder, stem = Path(module).parent.relative_to("proxy"), Path(module).stem
        own = (str(Path("tests") / folder / name) for name in (f"test_{stem}.py", f"test_{folder.name}_{stem}.py"))
        if not stem.startswith("__") and tests.isdisjoint({*own, TESTED_ELSEWHERE.get(module, "")}):
            missing.append(module)
    return missing


def only_declares(text: str) -> bool:
    """Nothing in it runs: constants, types and Protocols, whose functions are a docstring or ``...``."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return all(isinstance(line, ast.Expr) for function in functions for line in function.body)


def test_every_module_that_does_something_has_its_test_file() -> None:
    modules = [module for module in python_files("proxy") if "/migrations/" not in module]
    missing = untested(
        [module for module in modules if not only_declares((ROOT / module).read_text())], set(python_files("tests"))
    )
    assert not missing, "\n".join(missing)


def test_a_module_without_a_test_file_is_found() -> None:
    modules = ["proxy/keys.py", "proxy/edge/asgi.py", "proxy/journal/reader.py", "proxy/__main__.py"]
    assert untested(modules, {"tests/test_keys.py", "tests/journal/test_journal_reader.py"}) == ["proxy/edge/asgi.py"]


def test_a_module_that_only_declares_is_told_from_one_that_does() -> None:
    assert only_declares("class Port(Protocol):\n    def ask(self) -> int:\n        'Doc.'\n        ...\nA = 1")
    assert not only_declares("def f() -> int:\n    return 1")


HOSTS = r"(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|crates\.io|anaconda\.(org|com)|proxy\.golang\.org|ghcr\.io|docker\.io)"
PATHS = r"(^|[\s\"'=(:])/(root|work|home/\w+|Users/\w+|opt/wheels)(/|\b)"
SAYS = (HOSTS, PATHS)


def says(text: str, pattern: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if re.search(pattern, line)]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = (ROOT / name for name in listed.split("\0") if name)
    return [file for file in files if file.is_file() and file != Path(__file__).resolve()]


def in_a_checkout() -> bool:
    return (ROOT / ".git").exists()


@pytest.mark.skipif(not in_a_checkout(), reason="git says which files are tracked")
@pytest.mark.parametrize("pattern", SAYS)
def test_no_tracked_file_names_package_hosts_or_this_machine(pattern: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in tracked()
        for line in says(file.read_bytes().decode("utf-8", "replace"), pattern)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("pattern", "line"), [(HOSTS, "see pypi.org"), (PATHS, "cd /work/main"), (PATHS, "'/root/x'")])
def test_a_line_that_names_them_is_found(pattern: str, line: str) -> None:
    assert says(line, pattern) == [1]


# 1.82.7, 1.82.8 and 1.107.0 carried malware; from 1.106.3 on it needs a certifi that does not resolve.
PINNED = "1.106.2"


def litellm_pins(lock: str) -> list[str]:
    return re.findall(r"^litellm==(\S+)", lock, re.MULTILINE)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_pin_the_one_good_litellm(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert litellm_pins(lock) == [PINNED]
    assert unhashed(lock) == []


def unhashed(lock: str) -> list[str]:
    """Requirements that no hash pins."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock)
    return [
        entry.split("==")[0] for entry in entries if re.match(r"[A-Za-z0-9]", entry) and "--hash=sha256:" not in entry
    ]


def test_a_lock_with_another_litellm_or_without_hashes_is_found() -> None:
    assert litellm_pins("a==1 \\\n    --hash=sha256:00\nlitellm==1.82.7 \\\n    --hash=sha256:00\n") == ["1.82.7"]
    assert unhashed("a==1 \\\n    --hash=sha256:00\nb==2\n") == ["b"]
