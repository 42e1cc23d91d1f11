"""The shipped dashboard, alert rules and list of metrics; that what they ask for is served is told in tests/story."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.route.health import State
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.state import Watched
from tests.docs_reading import coded, rows
from tests.telemetry.deployed import ROOT, RULES, dashboard, expressions, rules
from tests.telemetry.promql import asked, is_balanced
from tests.telemetry.scraped import Scraped
from tests.telemetry.test_state import Books

PAGE = (ROOT / "docs/observability.md").read_text()
GRID_COLUMNS = 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_rule_is_whole() -> None:
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Orch[A-Z]\w+", rule["alert"])
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        summary = rule["annotations"]["summary"]
        assert summary.count("{{") == summary.count("}}")
        assert set(re.findall(r"\$\w+", summary)) <= {"$value", "$labels"}
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_every_alert_is_explained() -> None:
    explained = {coded(row[0])[0] for row in rows(PAGE, "alert | what to do")}
    assert explained == {rule["alert"] for rule in rules()}


def test_every_expression_is_balanced_and_asks_for_something() -> None:
    for where, expression in expressions().items():
        assert is_balanced(expression), where
        assert asked(expression).metrics, where


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= GRID_COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


async def test_the_list_of_metrics_is_the_metrics(tmp_path: Path) -> None:
    watched = Watched(
        books=Books(),
        database=tmp_path / "orch.db",
        running=lambda: 0,
        breaker=lambda _: State.CLOSED,
        deployments=lambda: (),
    )
    served = Scraped((await Metrics().exposition(watched).text()).decode())
    ours = {
        f"{name}_total" if kind == "counter" else f"{name}_info" if kind == "info" else name
        for name, kind in served.types.items()
        if name.startswith("orch_")
    }
    listed = [coded(row[0])[0] for row in rows(PAGE, "metric | labels")]
    assert sorted(listed) == sorted(ours)


def test_what_an_expression_asks_for_is_seen() -> None:
    seen = asked('sum by (le, model) (rate(orch_a_bucket{job=~"$job",x!="orch_no"}[5m])) / up{instance="i"} > orch_b')
    assert seen.metrics == {"orch_a_bucket", "up", "orch_b"}
    assert dict(seen.selected)["orch_a_bucket"] == {"job", "x"}
    assert seen.grouped == {"le", "model"}
    assert not is_balanced("sum(a")
