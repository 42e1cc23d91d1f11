"""The package as it is shipped: wheel and sdist build, and the wheel runs the demo where there is no checkout."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO_WAIT_S = 100


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    script = "import sys; from hatchling import build; print(build.build_{}(sys.argv[1]))"
    sdist = _run(sys.executable, "-c", script.format("sdist"), str(folder), cwd=ROOT).strip()
    with tarfile.open(folder / sdist) as archive:
        archive.extractall(folder / "src", filter="data")
    [source] = (folder / "src").iterdir()
    _run(sys.executable, "-c", script.format("wheel"), str(folder), cwd=source)
    return folder


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _run(*command: str, cwd: Path, environ: dict[str, str] | None = None) -> str:
    known = {"PATH": os.environ["PATH"], **(environ or {})}
    done = subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, timeout=DEMO_WAIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_carries_policies_and_migrations_and_nothing_of_the_tests(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {"proxy/_policies/default.yaml", "proxy/_policies/energy.yaml"} <= set(names)
    assert any(name.startswith("proxy/journal/migrations/versions/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "deploy/"))]


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    environment, empty = tmp_path / "env", tmp_path / "empty"
    empty.mkdir()
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=tmp_path)
    python = environment / "bin" / "python"
    # The dependencies of this environment, but not its .pth files: the checkout is not on the path.
    purelib = _run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=empty).strip()
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
        cwd=empty,
    )

    where = _run(str(python), "-c", "import proxy; print(proxy.__file__)", cwd=empty)
    told = _run(str(environment / "bin" / "orch"), "demo", "--exit", "--port", str(free_port()), cwd=empty)

    assert str(environment) in where
    assert "Insufficient energy. Required: 3, Available: 2" in told
