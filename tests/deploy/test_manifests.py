"""What the proxy is deployed with: linted where the linters are, and true to the code in any case."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import proxy
from proxy.config import load
from proxy.edge.access import PUBLIC

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.30"


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(str(ROOT / ".venv" / "bin" / name))
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def _passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def _find(value: object, key: str) -> list[Any]:
    """Every value of ``key``, however deep."""
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in ([inner] if name == key else _find(inner, key))]
    return [found for inner in value for found in _find(inner, key)] if isinstance(value, list) else []


MANIFESTS = sorted((DEPLOY / "k8s").glob("*.yaml"))


def test_the_dockerfile_is_linted() -> None:
    _passes(_tool("hadolint"), str(ROOT / "Dockerfile"))


def test_the_dockerfile_copies_what_exists_and_what_the_context_lets_in() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == allowed or source.startswith(f"{allowed}/") for allowed in let_in), source


def test_the_image_has_no_root_and_a_health_check_of_a_public_path() -> None:
    text = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    [path] = re.findall(r"127\.0\.0\.1:4000(/\w+)", text)
    assert path in PUBLIC


def test_the_images_configuration_loads() -> None:
    loaded = load(DEPLOY / "docker" / "config.yaml", {})

    assert loaded.config.store == "sqlite:////data/orch.db"
    assert loaded.config.server.listen == "0.0.0.0:4000"


def test_compose_serves_on_loopback_read_only_and_asks_for_an_admin_key() -> None:
    [compose] = _documents(DEPLOY / "compose.yaml")
    service = compose["services"]["orch"]

    assert service["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert ":?" in service["environment"]["ORCH_ADMIN_KEY"]
    assert set(compose["volumes"]) == {volume.split(":")[0] for volume in service["volumes"]}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifests_fit_the_schemas_of_kubernetes(manifest: Path) -> None:
    _passes(_tool("kubernetes-validate"), "--strict", "--kubernetes-version", KUBERNETES, str(manifest))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifests_configure_what_the_proxy_understands(manifest: Path, tmp_path: Path) -> None:
    documents = _documents(manifest)
    [text] = [document["data"]["config.yaml"] for document in documents if document["kind"] == "ConfigMap"]
    (tmp_path / "config.yaml").write_text(text)

    loaded = load(tmp_path / "config.yaml", {})

    mounts = {mount["mountPath"] for mounted in _find(documents, "volumeMounts") for mount in mounted}
    assert Path(loaded.config.store.removeprefix("sqlite:///")).parent in {Path(mount) for mount in mounts}
    assert _find(documents, "readOnlyRootFilesystem") == [True]
    assert _find(documents, "runAsNonRoot") == [True]
    assert {probe["path"] for probe in _find(documents, "httpGet")} <= PUBLIC
    for command in _find(documents, "exec"):
        assert re.search(r"127\.0\.0\.1:4000(/\w+)", command["command"][-1]).group(1) in PUBLIC  # type: ignore[union-attr]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_running_calls_may_end_before_a_pod_is_killed(manifest: Path) -> None:
    documents = _documents(manifest)
    drain_s = load(DEPLOY / "docker" / "config.yaml", {}).config.limits.drain_s
    [grace_s] = _find(documents, "terminationGracePeriodSeconds")
    [pause] = _find(documents, "sleep")

    assert grace_s > pause["seconds"] + drain_s


def test_the_chart_is_of_this_version() -> None:
    [chart] = _documents(DEPLOY / "helm" / "orch" / "Chart.yaml")

    assert chart["appVersion"] == proxy.__version__


def test_the_chart_renders_manifests_that_fit_the_schemas(tmp_path: Path) -> None:
    helm, validate = _tool("helm"), _tool("kubernetes-validate")
    chart = str(DEPLOY / "helm" / "orch")
    _passes(helm, "lint", "--strict", chart)
    values = tmp_path / "values.yaml"
    values.write_text("policies: {default.yaml: '- {kind: auth}', energy.yaml: 'actions: {}'}\n")
    rendered = subprocess.run(
        [helm, "template", "x", chart, "--kube-version", KUBERNETES, "-f", values],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "all.yaml").write_text(rendered.stdout)

    _passes(validate, "--strict", "--kubernetes-version", KUBERNETES, str(tmp_path / "all.yaml"))
    assert "policies/energy.yaml" in rendered.stdout


def test_the_unit_is_verified_and_stops_later_than_calls_may_run() -> None:
    unit = DEPLOY / "systemd" / "orch.service"
    drain_s = load(DEPLOY / "docker" / "config.yaml", {}).config.limits.drain_s

    [stop_s] = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    assert int(stop_s) > drain_s
    done = subprocess.run([_tool("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "/opt/orch/bin/orch is not executable" not in line]
    assert [line for line in complaints if unit.name in line] == []
