"""``orch keys``: a key is shown once, listed without its secret, revoked by its id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.keys import parse
from tests.cli.conftest import Orch


def test_a_created_key_is_the_only_thing_on_stdout(orch: Orch) -> None:
    ran = orch("keys", "create", "--user", "ana")
    assert ran.code == 0
    assert parse(ran.out.removesuffix("\n")) is not None


def test_a_created_key_is_kept_as_a_hash_only(orch: Orch, tmp_path: Path) -> None:
    secret = orch("keys", "create", "--service").out.strip().rpartition("_")[2]
    assert all(secret.encode() not in file.read_bytes() for file in (tmp_path / "data").iterdir())


def test_everything_a_key_may_do_is_listed(orch: Orch) -> None:
    made = json.loads(
        orch(
            *("keys", "create", "--user", "ana", "--namespace", "shop", "--workspace", "w 1", "--name", "phone"),
            *("--actions", "ai_message, ai_scan", "--models", "gpt-4o", "--operations", "chat,embeddings", "--json"),
        ).out
    )
    (listed,) = json.loads(orch("keys", "list", "--namespace", "shop", "--json").out)
    assert listed == made["facts"]
    assert listed["actions"] == ["ai_message", "ai_scan"]
    assert listed["operations"] == ["chat", "embeddings"]
    assert (listed["user"], listed["workspace"], listed["name"]) == ("ana", "w 1", "phone")
    assert json.loads(orch("keys", "list", "--namespace", "app", "--json").out) == []


def test_a_list_in_a_pipe_is_separated_by_tabs(orch: Orch) -> None:
    orch("keys", "create", "--admin", "--name", "tab\N{NO-BREAK SPACE}")
    header, line = orch("keys", "list").out.splitlines()
    assert header.split("\t")[:2] == ["ID", "ROLE"]
    assert line.split("\t")[1] == "admin"


def test_a_key_is_revoked_by_its_id_or_the_whole_key(orch: Orch) -> None:
    first, second = (orch("keys", "create", "--service").out.strip() for _ in range(2))
    key_id = (parse(first) or ("", ""))[0]
    assert orch("keys", "revoke", key_id).out == f"revoked {key_id}\n"
    ran = orch("keys", "revoke", second)
    assert ran.code == 0
    assert second.rpartition("_")[2] not in ran.out
    assert all(key["revoked_at"] for key in json.loads(orch("keys", "list", "--json").out))


def test_an_unknown_key_cannot_be_revoked(orch: Orch) -> None:
    ran = orch("keys", "revoke", "nope")
    assert ran.code == 2
    assert "orch keys list" in ran.err


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--user", "ana", "--service"),
        ("--service", "--admin"),
        ("--user", ""),
        ("--user", "a\nb"),
        ("--service", "--namespace", "A B"),
        ("--service", "--operations", "images"),
        ("--service", "--models", "a,,b"),
        ("--service", "--actions", ""),
        ("--service", "--name", "x" * 201),
    ],
)
def test_a_key_that_makes_no_sense_is_not_created(orch: Orch, options: tuple[str, ...]) -> None:
    ran = orch("keys", "create", *options)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("orch: ")
    assert json.loads(orch("keys", "list", "--json").out) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--actions", "ai_mesage"), "there is no action 'ai_mesage'; did you mean 'ai_message'?"),
        (("--actions", "ai_message,zzz"), "there is no action 'zzz'; there are "),
        (("--models", "gpt-4"), "there is no model 'gpt-4'; did you mean 'gpt-4o'?"),
    ],
)
def test_a_name_that_nobody_can_call_is_refused(orch: Orch, options: tuple[str, ...], says: str) -> None:
    ran = orch("keys", "create", "--service", *options)
    assert ran.code == 2
    assert says in ran.err
    assert json.loads(orch("keys", "list", "--json").out) == []


@pytest.mark.parametrize(
    "options",
    [("--models", "gpt-9*,mock/?pt-4o"), ("--actions", "ai_*,embedding"), ("--models", "smart")],
)
def test_globs_aliases_and_free_actions_are_names_too(orch: Orch, options: tuple[str, ...]) -> None:
    Path("policies").mkdir()
    Path("policies/default.yaml").write_text("- {kind: auth}\n- {kind: rewrite, alias: {smart: gpt-4o}}\n")
    assert orch("keys", "create", "--service", *options).code == 0


def test_where_the_configuration_does_not_load_names_are_not_checked_and_that_is_said(orch: Orch) -> None:
    Path("config.yaml").write_text('upstreams: {openai: {api_key: "${NOT_SET_HERE}"}}\n')
    ran = orch("keys", "create", "--service", "--actions", "nope", "--models", "nope")
    assert ran.code == 0
    assert ran.err.startswith(
        "warning: the configuration does not load here, so names were not checked: config.yaml:1:31"
    )
    assert parse(ran.out.strip()) is not None


def test_a_key_is_put_in_anothers_place_with_the_same_rights(orch: Orch) -> None:
    before = json.loads(orch("keys", "create", "--user", "ana", "--models", "gpt-4o", "--name", "phone", "--json").out)
    after = json.loads(orch("keys", "rotate", before["key"], "--json").out)
    assert after["key"] != before["key"]
    changed = {"id", "created_at"}
    assert {name: value for name, value in after["facts"].items() if name not in changed} == {
        name: value for name, value in before["facts"].items() if name not in changed
    }
    listed = {key["id"]: key for key in json.loads(orch("keys", "list", "--json").out)}
    assert listed[before["facts"]["id"]]["revoked_at"] is not None
    assert listed[after["facts"]["id"]]["revoked_at"] is None


def test_with_a_grace_the_old_key_is_good_for_a_while(orch: Orch) -> None:
    key_id = json.loads(orch("keys", "create", "--service", "--json").out)["facts"]["id"]
    ran = orch("keys", "rotate", key_id, "--grace", "2h")
    assert parse(ran.out.strip()) is not None
    (old,) = (key for key in json.loads(orch("keys", "list", "--json").out) if key["id"] == key_id)
    assert old["revoked_at"] is None
    assert old["expires_at"] > old["created_at"]


def test_a_key_that_is_not_there_cannot_be_rotated(orch: Orch) -> None:
    assert orch("keys", "rotate", "nope").code == 2
