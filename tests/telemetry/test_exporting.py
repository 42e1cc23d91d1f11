"""Whether to export, and where to; what is said when OpenTelemetry is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config.settings import Telemetry
from proxy.telemetry.exporting import NotInstalled, collector, exporting, opened
from tests.processes import ran, write

HERE, THERE = "http://127.0.0.1:4318", "http://127.0.0.1:4319"


@pytest.mark.parametrize(
    ("settings", "environ", "wanted"),
    [
        (Telemetry(), {}, None),
        (Telemetry(otlp=HERE), {}, HERE),
        (Telemetry(), {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{THERE}/"}, THERE),
        (Telemetry(otlp=HERE), {"OTEL_EXPORTER_OTLP_ENDPOINT": THERE}, HERE),
        (Telemetry(otlp=HERE), {"OTEL_SDK_DISABLED": "True"}, None),
        (Telemetry(), {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
    ],
)
def test_the_collector_is_the_configurations_else_opentelemetrys_own(
    settings: Telemetry, environ: dict[str, str], wanted: str | None
) -> None:
    assert collector(settings, environ) == wanted


async def test_without_a_collector_opentelemetry_is_not_imported(tmp_path: Path) -> None:
    async with exporting(Telemetry(), {}) as tracing:
        assert tracing is None
    code = "import proxy.app, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_collector_without_the_extra_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_other.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "opentelemetry.nowhere", None)
    (tmp_path / "needs_otel.py").write_text("import opentelemetry.nowhere\n")

    with pytest.raises(NotInstalled, match=r"pip install 'ai-orchestrator\[otel\]'"):
        opened(HERE, "needs_otel")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        opened(HERE, "needs_other")


async def test_orch_serve_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").write_text("raise ModuleNotFoundError(name='opentelemetry')\n")
    write(tmp_path, {"config.yaml": f"store: sqlite:///orch.db\ntelemetry: {{otlp: '{HERE}'}}\n"})
    root = Path(__file__).resolve().parents[2]

    environ = {"PYTHONPATH": f"{tmp_path}:{root}"}
    code, _, said = await ran(
        "serve", "--config", "config.yaml", "--listen", "127.0.0.1:0", cwd=tmp_path, environ=environ
    )

    assert code == 1
    assert said.count("\n") == 0
    assert "pip install 'ai-orchestrator[otel]'" in said
