"""``orch models``: what clients can name, where it is had, what it costs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Orch

CONFIG = """\
upstreams:
  near: {base_url: "http://127.0.0.1:9/v1", provider: hosted_vllm}
  mock: {via: mock}
models:
  big: {class: premium, deployments: [{upstream: near, model: llama}, {upstream: mock}], price: {input: 2.5, output: 10}}
  small: {class: economy, deployments: [{upstream: near}], lacks: [tools], input_tokens_max: 8000}
"""


def test_the_mock_models_need_no_configuration(orch: Orch) -> None:
    header, *lines = orch("models").out.splitlines()
    named = dict(zip(header.split("\t"), lines[0].split("\t"), strict=True))
    assert (named["MODEL"], named["CLASS"], named["POINTS"]) == ("gpt-4o", "premium", "10")


def test_places_prices_and_limits_are_told(orch: Orch) -> None:
    Path("config.yaml").write_text(CONFIG)
    big, small = json.loads(orch("models", "--json").out)
    assert big["deployments"] == [{"upstream": "near", "model": "llama"}, {"upstream": "mock", "model": "big"}]
    assert big["usd_per_million"] == {"input": "2.5", "output": "10"}
    assert (small["points"], small["lacks"], small["input_tokens_max"]) == (3, ["tools"], 8000)
    assert "near/llama, mock" in orch("models").out


def test_only_those_that_fit_are_listed(orch: Orch) -> None:
    Path("config.yaml").write_text(CONFIG)
    assert [model["model"] for model in json.loads(orch("models", "s*", "--json").out)] == ["small"]
    assert [model["model"] for model in json.loads(orch("models", "--upstream", "mock", "--json").out)] == ["big"]
    ran = orch("models", "nope*")
    assert ran.code == 1
    assert ran.err == "no model fits; `orch models` lists all\n"


def test_without_a_price_list_there_are_no_points(orch: Orch) -> None:
    Path("config.yaml").write_text(CONFIG + "policies: chain.yaml\n")
    Path("chain.yaml").write_text("- {kind: auth}\n")
    big, _ = json.loads(orch("models", "--json").out)
    assert (big["class"], big["points"]) == ("premium", None)


def test_a_configuration_that_does_not_load_is_told(orch: Orch) -> None:
    Path("config.yaml").write_text("stor: x\n")
    assert orch("models").code == 2
