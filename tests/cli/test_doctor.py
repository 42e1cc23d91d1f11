"""``orch doctor``: every line is a thing looked at, and it exits by the worst of them."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.child import serving_child
from tests.cli.conftest import Orch, Ran
from tests.cli.test_child import free_port

CONFIG = "server: {listen: '127.0.0.1:%d'}\nstore: sqlite:///data/orch.db\n"


def levels(ran: Ran) -> dict[str, str]:
    """The level of each check."""
    return {finding["check"]: finding["level"] for finding in json.loads(ran.out)}


@pytest.fixture
def at_home(orch: Orch) -> Orch:
    Path("config.yaml").write_text(CONFIG % free_port())
    return orch


def test_where_nothing_is_wrong_every_line_says_so(at_home: Orch) -> None:
    ran = at_home("doctor")
    assert ran.code == 0
    assert {line[:6] for line in ran.out.splitlines()} <= {"ok    ", "warn  "}
    assert levels(at_home("doctor", "--json")) == {
        **dict.fromkeys(
            ("python", "sqlite", "litellm", "startup files", "configuration", "store", "room", "schema"), "ok"
        ),
        **dict.fromkeys(("lock", "secret", "clock", "open files", "address"), "ok"),
        "providers": "warn",
    }


def test_a_configuration_that_does_not_load_fails_and_the_store_is_looked_at_all_the_same(at_home: Orch) -> None:
    with Path("config.yaml").open("a") as config:
        config.write('upstreams: {openai: {api_key: "${NOT_SET_HERE}"}}\n')
    ran = at_home("doctor")
    assert ran.code == 1
    assert "upstreams.openai.api_key: the environment variable NOT_SET_HERE is not set" in ran.out
    assert "ok    schema:" in ran.out


def test_a_provider_that_is_not_reached_fails_and_its_key_is_not_shown(
    at_home: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-of-the-doctor")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{free_port()}/v1")
    ran = at_home("doctor")
    assert ran.code == 1
    assert "ok    key of openai: is there" in ran.out
    assert "fail  reach openai: 127.0.0.1:" in ran.out
    assert "canary" not in ran.out


def test_what_must_not_be_is_told_at_once(at_home: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/secret").chmod(0o644)
    monkeypatch.setenv("ORCH_ADMIN_KEY", "short")
    ran = at_home("doctor", "--json")
    assert ran.code == 1
    found = levels(ran)
    assert (found["secret"], found["admin key"]) == ("fail", "fail")


@pytest.mark.parametrize(
    ("environ", "level"), [({}, "fail"), ({"ORCH_ADMIN_KEY": "x" * 32}, "ok")], ids=["none", "one"]
)
def test_an_address_for_others_needs_an_admin_key(
    at_home: Orch, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], level: str
) -> None:
    Path("config.yaml").write_text((CONFIG % free_port()).replace("127.0.0.1", "0.0.0.0"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert levels(at_home("doctor", "--json"))["admin key"] == level


def test_an_admin_key_of_the_ledger_is_one_too(at_home: Orch) -> None:
    Path("config.yaml").write_text((CONFIG % free_port()).replace("127.0.0.1", "0.0.0.0"))
    at_home("keys", "create", "--admin")
    assert levels(at_home("doctor", "--json"))["admin key"] == "ok"


def test_a_taken_address_fails_with_who_has_it(orch: Orch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        Path("config.yaml").write_text(CONFIG % taken.getsockname()[1])
        ran = orch("doctor")
    assert ran.code == 1
    assert f"by process {os.getpid()}" in ran.out


def test_an_address_that_our_own_proxy_has_is_fine(orch: Orch, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % port)
    with serving_child(config, port) as child:
        ran = orch("doctor")
    assert ran.code == 0
    assert f"as it has to be while process {child.process.pid} serves" in ran.out
    assert f"process {child.process.pid} (" in ran.out


def test_where_there_is_no_ledger_yet_none_is_made(orch: Orch, tmp_path: Path) -> None:
    Path("config.yaml").write_text(
        "store: sqlite:///new/orch.db\n" + f"server: {{listen: '127.0.0.1:{free_port()}'}}\n"
    )
    assert orch("doctor").code == 0
    assert not (tmp_path / "new").exists()


def test_on_a_terminal_it_is_the_same_in_colours(at_home: Orch, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm", "COLUMNS": "60"}
    command = [sys.executable, "-m", "proxy", "doctor"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path) as child:
        os.close(theirs)
        shown = b""
        while b"providers" not in shown:
            shown += os.read(ours, 4096)
        assert child.wait(30) == 0
    os.close(ours)
    assert b"\x1b[" in shown
