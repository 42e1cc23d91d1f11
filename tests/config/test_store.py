"""Store: where the ledger is, from a configuration of which other parts do not load here."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import NotLoaded, load
from proxy.config.store import Stored, read_prices, read_store

CONFIG = """\
store: sqlite:///books/orch.db
durability: relaxed
upstreams:
  openai: {api_key: "${NOT_SET}"}
limits: {call_max: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(text: str, **environ: str) -> list[str]:
    Path("config.yaml").write_text(text)
    with pytest.raises(NotLoaded) as raised:
        read_store(None, environ)
    return [str(problem) for problem in raised.value.problems]


def test_the_store_is_found_whatever_is_wrong_elsewhere(folder: Path) -> None:
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.raises(NotLoaded):
        load(None, {})
    assert read_store(None, {}) == Stored(database=folder / "books/orch.db", durability="relaxed")


def test_it_is_the_store_that_a_whole_load_names(folder: Path) -> None:
    for text in ("", "store: sqlite:///x/y.db\n", "store: sqlite:////tmp/y.db\n", "store: sqlite:///${D}/y.db\n"):
        (folder / "config.yaml").write_text(text)
        environ = {"D": "deep/er"}
        assert f"sqlite:///{read_store(None, environ).database}" == load(None, environ).config.store


def test_without_a_file_it_is_the_default(folder: Path) -> None:
    assert read_store(None, {}) == Stored(database=folder / "data/orch.db", durability="strict")


def test_a_path_starts_at_the_files_folder(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc/c.yaml").write_text("store: sqlite:///o.db\n")
    assert read_store(Path("etc/c.yaml"), {}).database == folder / "etc/o.db"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stor: sqlite:///x.db", "config.yaml:1:1 stor: unknown key; did you mean 'store'?"),
        ("store: ${NOT_SET}", "config.yaml:1:8 store: the environment variable NOT_SET is not set"),
        ("store: /x.db", "config.yaml:1:8 store: must be sqlite:///"),
        ("durability: maybe", "config.yaml:1:13 durability: must be 'strict' or 'relaxed'"),
        ("a: [", "config.yaml:2:1 is not YAML"),
        ("- store", "config.yaml:1:1 must be a mapping"),
    ],
)
def test_a_store_that_is_not_surely_this_one_is_refused(folder: Path, text: str, problem: str) -> None:
    (found,) = refused(text + "\n")
    assert found.startswith(problem)


def test_a_value_of_the_environment_is_in_no_problem(folder: Path) -> None:
    (found,) = refused("store: ${WHERE}\n", WHERE="canary-secret")
    assert "canary" not in found


def test_a_file_that_was_asked_for_must_exist(folder: Path) -> None:
    with pytest.raises(NotLoaded, match="No such file"):
        read_store(Path("nope.yaml"), {})


def test_the_price_list_is_found_whatever_is_wrong_elsewhere(folder: Path) -> None:
    (folder / "config.yaml").write_text(CONFIG)
    found = read_prices(None, {})
    assert found is not None
    assert found.default_plan in found.plans


def test_a_chain_that_prices_nothing_has_no_price_list(folder: Path) -> None:
    (folder / "config.yaml").write_text("policies: chain.yaml\n")
    (folder / "chain.yaml").write_text("- {kind: auth}\n")
    assert read_prices(None, {}) is None


@pytest.mark.parametrize("chain", ["- {kind: energi}\n", "kind: auth\n", "- {kind: energy, prices: none.yaml}\n"])
def test_a_chain_that_cannot_be_read_is_told(folder: Path, chain: str) -> None:
    (folder / "config.yaml").write_text("policies: chain.yaml\n")
    (folder / "chain.yaml").write_text(chain)
    with pytest.raises(NotLoaded, match=r"chain\.yaml:1"):
        read_prices(None, {})
