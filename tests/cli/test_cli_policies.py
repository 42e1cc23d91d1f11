"""``orch policies``: what can be put into the chain, the chain as it is, and as it was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.config.policies import kinds
from proxy.policy import Retry
from tests.cli.conftest import Orch


def test_every_kind_is_listed_with_its_settings(orch: Orch) -> None:
    told = {kind["kind"]: kind for kind in json.loads(orch("policies", "kinds", "--json").out)}
    assert told.keys() == kinds().keys()
    assert {setting["name"] for setting in told["retry"]["settings"]} == Retry.model_fields.keys() - {"kind"}
    assert all(kind["what"] for kind in told.values())


def test_one_kind_is_a_row_a_setting(orch: Orch) -> None:
    header, first, *_ = orch("policies", "kinds", "retry").out.splitlines()
    shown = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (shown["KIND"], shown["SETTING"], shown["DEFAULT"]) == ("retry", "attempts_max", "3")


def test_a_kind_that_is_none_is_refused_with_what_was_meant(orch: Orch) -> None:
    ran = orch("policies", "kinds", "rety")
    assert ran.code == 2
    assert "did you mean 'retry'" in ran.err


def test_the_chain_is_shown_with_its_versions(orch: Orch) -> None:
    out = orch("policies", "show").out
    assert [line.split("\t")[1] for line in out.splitlines()[1:7]] == [
        *("auth", "rewrite", "energy", "fallback", "retry", "timeout")
    ]
    told = json.loads(orch("policies", "show", "--json").out)
    assert f"policy version {told['version']}, price version {told['price_version']}" in out
    assert told["live"] is None
    assert told["chain"][4]["attempts_max"] == 3


def test_a_chain_that_charges_nothing_says_so(orch: Orch) -> None:
    Path("config.yaml").write_text("policies: chain.yaml\n")
    Path("chain.yaml").write_text("- {kind: auth, roles: [service]}\n")
    out = orch("policies", "show").out
    assert '1\tauth\troles: ["service"]' in out
    assert "price version none" in out
    assert "hint: calls are free" in out


def test_the_files_of_a_version_that_was_live_are_shown_as_they_were(orch: Orch) -> None:
    with closing(sqlite3.connect("data/orch.db")) as connection, connection:
        files = json.dumps({"default.yaml": "- {kind: auth}\n"})
        connection.execute("INSERT INTO policy_versions (version, files, created_at) VALUES ('abc', ?, 1)", (files,))
    assert orch("policies", "show", "abc").out == "# default.yaml\n- {kind: auth}\n\n"
    assert json.loads(orch("policies", "show", "abc", "--json").out) == {"default.yaml": "- {kind: auth}\n"}


@pytest.mark.parametrize("version", ["nope", ""])
def test_a_version_that_never_was_is_said(orch: Orch, version: str) -> None:
    ran = orch("policies", "show", version)
    assert ran.code == 2
    assert "were live here" in ran.err
