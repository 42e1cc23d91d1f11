"""Every command beside a running proxy with calls in its ledger."""

from __future__ import annotations

import json
import os
from pathlib import Path

import openai

from proxy.cli.child import serving_child
from tests.cli.conftest import Orch
from tests.cli.test_child import free_port


def said(orch: Orch, *command: str, code: int = 0) -> str:
    """What a command printed; it has to end with the code."""
    ran = orch(*command)
    assert ran.code == code, ran.err
    return ran.out


def test_every_command_beside_a_running_proxy(orch: Orch, tmp_path: Path) -> None:
    said(orch, "init")
    config, port = tmp_path / "config.yaml", free_port()
    config.write_text(config.read_text().replace("127.0.0.1:4000", f"127.0.0.1:{port}"))
    with serving_child(config, port) as proxy:
        said(orch, "users", "create", "zoe", "--energy", "40")
        said(orch, "users", "grant", "zoe", "2")
        key = said(orch, "keys", "create", "--user", "zoe").strip()
        key = said(orch, "keys", "rotate", key, "--grace", "1m").strip()
        _ask_twice(proxy.url, key)
        _read(orch)
        said(orch, "reload")
        said(orch, "db", "backup", "copy.db")
        said(orch, "doctor")
        said(orch, "keys", "revoke", key)
        assert orch("users", "erase", "zoe", "--yes", "--json").code == 0
        said(orch, "ledger", "verify")
        assert f"process {proxy.process.pid} (" in orch("serve").err
    said(orch, "ledger", "verify")
    assert json.loads(said(orch, "db", "status", "--json"))["written_by"] is None


def _ask_twice(url: str, key: str) -> None:
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=url, api_key=key, http_client=direct) as client:
        for _ in range(2):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])


def _read(orch: Orch) -> None:
    assert json.loads(said(orch, "users", "balance", "zoe", "--json"))["available"] == 22
    assert len(json.loads(said(orch, "users", "history", "zoe", "--json"))) == 4
    assert "zoe" in said(orch, "users", "list")
    assert "zoe" in said(orch, "users", "show", "zoe")
    assert "zoe" in said(orch, "keys", "list")
    newest, _ = json.loads(said(orch, "calls", "list", "--json"))
    assert "answered" in said(orch, "calls", "show", newest["id"])
    assert newest["id"] in said(orch, "calls", "tail", "--count", "2")
    assert "gpt-4o" in said(orch, "calls", "top")
    assert "zoe" in said(orch, "report", "usage", "--by", "user")
    assert "gpt-4o" in said(orch, "models")
    assert "retry" in said(orch, "policies", "kinds")
    assert "this version" in said(orch, "policies", "show")
    assert "nothing was changed" in said(orch, "db", "upgrade")
    assert f"written by\tprocess {os.getpid()}" not in said(orch, "db", "status")
    assert "ok: " in said(orch, "check")
