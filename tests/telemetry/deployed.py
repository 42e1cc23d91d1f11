"""What is shipped in deploy/: the expressions of the dashboard and of the alert rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/ai-orchestrator.json"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions() -> dict[str, str]:
    """Every expression by where it stands."""
    board = dashboard()
    panels = {
        f"panel {panel['title']!r} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }
    notes = {f"annotation {note['name']!r}": note["expr"] for note in board["annotations"]["list"]}
    return panels | notes | {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
