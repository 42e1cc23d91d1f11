"""What ``orch doctor`` looks at of the machine: Python, SQLite, LiteLLM, and code that runs whenever Python starts."""

from __future__ import annotations

import resource
import site
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

from proxy.cli.findings import Finding, broken, doubtful, fine
from proxy.config.settings import Config
from proxy.errors import UpstreamRefused
from proxy.server import files_needed
from proxy.upstream.litellm_library import check_version

PYTHON_MIN = (3, 11)
WAL_MENDED = (3, 51, 3)
TIME_MIN_S = 1_767_225_600  # 2026-01-01: this program was not written before

KNOWN_PTH = (
    "distutils-precedence.pth",  # setuptools
    "_virtualenv.pth",
    "_uv_ephemeral_overlay.pth",
    "*ai_orchestrator*.pth",  # this program, installed to be edited
    "__editable__.*.pth",
    "__editables_*.pth",
    "*-nspkg.pth",  # namespace packages of old setuptools
    "a1_coverage.pth",
    "coverage*.pth",
    "pywin32.pth",
    "easy-install.pth",
    "debugpy*.pth",
    "zope.*.pth",
)
"""Files of well-known tools that may run code when Python starts."""

KNOWN_BAD_PTH = ("litellm_init.pth",)
"""What came with the LiteLLM versions that carried malware: it runs with every Python, imported or not."""


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return broken("python", f"{found} is too old", "install Python 3.11 or newer")
    return fine("python", found)


def sqlite() -> Finding:
    """SQLite 3.7.0 to 3.51.2 can corrupt a WAL when two connections write or checkpoint at the same time."""
    if sqlite3.sqlite_version_info >= WAL_MENDED:
        return fine("sqlite", sqlite3.sqlite_version)
    return fine(
        "sqlite",
        f"{sqlite3.sqlite_version}; before 3.51.3 two writers can corrupt a WAL: the proxy is the only one, let no other"
        " program write the store",
    )


def litellm() -> Finding:
    try:
        check_version()
    except UpstreamRefused as refused:
        if refused.reason == "litellm_missing":
            return doubtful(
                "litellm", "not installed: providers that are not OpenAI-compatible cannot be asked", _again()
            )
        return broken(
            "litellm",
            f"{version('litellm')} is known to carry malware",
            f"{_again()}, look for foreign .pth files, and change every key that this machine held",
        )
    return fine("litellm", version("litellm"))


def _again() -> str:
    return "pip install litellm==1.106.2"


def startup_files(folders: Iterable[Path] | None = None) -> Iterator[Finding]:
    """The ``.pth`` files of the site folders: every line of them that begins with ``import`` runs when any Python starts."""
    found = [
        file for folder in (_site_folders() if folders is None else folders) for file in sorted(folder.glob("*.pth"))
    ]
    doubts = list(filter(None, map(_startup_file, found)))
    yield from doubts
    if not doubts:
        names = ", ".join(file.name for file in found) or "no .pth file"
        yield fine("startup files", names)


def _site_folders() -> list[Path]:
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [Path(folder) for folder in dict.fromkeys([*site.getsitepackages(), *user])]


def _startup_file(file: Path) -> Finding | None:
    if file.name in KNOWN_BAD_PTH:
        return broken(
            "startup files",
            f"{file} is malware",
            "make this environment anew from requirements.lock, and change every key that this machine held",
        )
    if any(fnmatchcase(file.name, known) for known in KNOWN_PTH) or not _runs_code(file):
        return None
    return doubtful(
        "startup files",
        f"{file} runs code whenever Python starts, and is of no tool known here",
        "find out which package it is of (pip show -f), and remove it if you do not know it",
    )


def _runs_code(file: Path) -> bool:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return True  # what cannot be read cannot be cleared
    return any(line.startswith(("import ", "import\t")) for line in lines)


def open_files(config: Config) -> Finding:
    """Whether this user's processes may open as many files as the configuration allows connections."""
    needed, (_, hard) = files_needed(config), resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        allowed = "any number" if hard == resource.RLIM_INFINITY else hard
        return fine("open files", f"{allowed} may be open, {needed} are needed at most")
    if hard < config.limits.calls_max:
        return broken(
            "open files",
            f"{hard} may be open, fewer than limits.calls_max ({config.limits.calls_max})",
            "raise the limit (ulimit -n, LimitNOFILE=), or lower limits.calls_max",
        )
    return doubtful(
        "open files",
        f"{hard} may be open, {needed} would be needed for every connection the configuration allows",
        "raise the limit (ulimit -n, LimitNOFILE=), or lower limits.connections_max",
    )


def clock(latest_ms: int | None, *, now_s: float | None = None) -> Finding:
    """Whether the time can be: not before this program was made, nor before the latest that the books know."""
    now = time.time() if now_s is None else now_s
    shown = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(now))
    mend = "set the clock (timedatectl, NTP)"
    if now < TIME_MIN_S:
        return broken("clock", f"{shown} is long ago", mend)
    behind_s = 0.0 if latest_ms is None else latest_ms / 1000 - now
    if behind_s > 60:
        return broken("clock", f"{shown} is {behind_s:.0f} s before the latest time in the store", mend)
    if behind_s > 1:
        return doubtful("clock", f"{shown} is {behind_s:.0f} s before the latest time in the store", mend)
    return fine("clock", shown)
