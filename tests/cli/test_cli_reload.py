"""``orch reload``: the running proxy reads its files anew, and says what it thinks of them."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.cli.child import serving_child
from tests.cli.conftest import Orch
from tests.cli.test_child import free_port

CONFIG = "server: {listen: '127.0.0.1:%d'}\nstore: sqlite:///data/orch.db\n"


def test_what_the_proxy_says_is_told(orch: Orch, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % port)
    with serving_child(config, port):
        before = json.loads(orch("policies", "show", "--json").out)
        assert before["live"] == before["version"]
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies/default.yaml").write_text("- {kind: auth}\n- {kind: retry}\n")
        ran = orch("reload")
        assert ran.code == 0
        live = json.loads(orch("policies", "show", "--json").out)
        assert live["live"] == live["version"] != before["version"]
        assert ran.out.endswith(f"live: policy version {live['version']}\n")
        assert "this version" in orch("policies", "show").out
        assert orch("policies", "show", before["version"]).out.startswith("# default.yaml\n")

        (tmp_path / "policies/default.yaml").write_text("- {kind: rety}\n")
        refused = orch("reload")
        assert refused.code == 1
        assert "did you mean 'retry'" in refused.err
        assert refused.out == f"refused; still live: policy version {live['version']}\n"
        told = json.loads(orch("reload", "--json").out)
        assert (told["policy_version"], len(told["problems"])) == (live["version"], 1)


def test_without_a_proxy_there_is_nothing_to_reload(orch: Orch) -> None:
    ran = orch("reload")
    assert ran.code == 2
    assert "no proxy runs" in ran.err


def test_without_a_ledger_none_is_made(orch: Orch, tmp_path: Path) -> None:
    Path("config.yaml").write_text("store: sqlite:///new/orch.db\n")
    assert orch("reload").code == 2
    assert not (tmp_path / "new").exists()
