"""``orch serve``: a proxy that the other commands reach while it runs, and that ends in order."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path

import pytest

from proxy.cli.child import Child, serving_child
from proxy.journal.lock import holder
from tests.cli.conftest import Orch
from tests.cli.test_child import free_port
from tests.processes import connects, started


def status(child: Child, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=10)
    connection.request("GET", "/v1/energy", headers={"authorization": f"Bearer {key}"})
    found = connection.getresponse().status
    connection.close()
    return found


def test_commands_work_on_the_ledger_that_a_running_proxy_holds(orch: Orch, tmp_path: Path) -> None:
    config, database = tmp_path / "config.yaml", tmp_path / "data" / "orch.db"
    config.write_text("store: sqlite:///data/orch.db\n")
    with serving_child(config, free_port()) as child:
        found = holder(database)
        assert found is not None
        assert found.pid == child.process.pid
        assert json.loads(orch("users", "grant", "ana", "5", "--json").out)["available"] == 30
        assert json.loads(orch("users", "balance", "ana", "--json").out)["available"] == 30
        made = json.loads(orch("keys", "create", "--user", "ana", "--json").out)
        assert status(child, made["key"]) == 200
        assert orch("keys", "revoke", made["facts"]["id"]).code == 0
        assert status(child, made["key"]) == 401
        assert orch("users", "create", "ana").code == 2
        assert orch("ledger", "verify").code == 0
    assert holder(database) is None
    assert child.process.returncode == 0


def test_a_second_proxy_on_the_same_ledger_is_refused(orch: Orch, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("store: sqlite:///data/orch.db\n")
    with serving_child(config, free_port()) as child:
        ran = orch("serve", "--listen", f"127.0.0.1:{free_port()}")
    assert ran.code == 3
    assert str(child.process.pid) in ran.err


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", ""])
def test_an_address_that_is_none_is_refused(orch: Orch, listen: str) -> None:
    ran = orch("serve", "--listen", listen or "127.0.0.1:")
    assert ran.code in (1, 2)
    assert ran.err.startswith("orch: ")


async def test_in_json_it_says_where_it_listens(orch: Orch, tmp_path: Path) -> None:
    async with started("serve", "--listen", "127.0.0.1:0", "--json", cwd=tmp_path) as proxy:
        told = json.loads((await proxy.out.said("^{.*$"))[0])
        assert connects(int(told["url"].removesuffix("/v1").rpartition(":")[2]))
        assert (told["models"], told["operators"]) == (6, [])
        proxy.send(signal.SIGTERM)
        assert await proxy.ended() == 0
