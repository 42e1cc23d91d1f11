"""Keys: minted, parsed, compared, cached, revoked; and the secret behind them."""

from __future__ import annotations

import asyncio
import multiprocessing
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy import keys
from proxy.call import Principal, Role
from proxy.errors import BadRequest, ConfigError, Unauthenticated
from proxy.journal.memory import MemoryStore
from proxy.journal.port import KeyRow
from proxy.keys import Keyring, NewKey

PEPPER = b"a pepper for tests"
ANA = NewKey(role=Role.USER, user="ana", workspace="w1", actions=("ai_message",))


class Watched(MemoryStore):
    """A store that counts key look-ups; ``gate`` holds a look-up back after it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def key(self, key_id: str) -> KeyRow | None:
        self.reads += 1
        row = await super().key(key_id)
        self.reading.set()
        await self.gate.wait()
        return row


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
def keyring(store: Watched) -> Keyring:
    return Keyring(store, PEPPER, "the-admin-key-of-tests")


async def refusal(keyring: Keyring, credential: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await keyring.principal(credential)
    assert "User not authenticated" in caught.value.message
    return caught.value.message


def test_a_minted_key_parses_into_its_id_and_secret() -> None:
    row, text = keys.mint(PEPPER, ANA, created_at=7)
    parsed = keys.parse(text)
    assert parsed is not None
    assert parsed[0] == row.id
    assert keys.matches(PEPPER, row, parsed[1])
    assert not keys.matches(b"another pepper", row, parsed[1])
    assert not keys.matches(PEPPER, row, parsed[1][:-1])


def test_the_row_keeps_nothing_of_the_secret() -> None:
    row, text = keys.mint(PEPPER, ANA, created_at=7)
    assert text.removeprefix("sk-orch-").partition("_")[2] not in repr(row)
    assert row.mac == keys.mac(PEPPER, (keys.parse(text) or ("", ""))[1])


def test_two_minted_keys_differ() -> None:
    assert keys.mint(PEPPER, ANA, created_at=7)[1] != keys.mint(PEPPER, ANA, created_at=7)[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-orch-",
        "sk-orch-0123456789abcdef",
        "sk-orch-0123456789abcdef_",
        "sk-proj-abc",
        "sk-orch-XYZ_" + "a" * 43,
        "sk-orch-0123456789abcdef_" + "a" * 43 + "\n",
        "sk-orch-0123456789abcdef_" + "ä" * 43,
    ],
)
def test_what_is_not_a_key_does_not_parse(text: str) -> None:
    assert keys.parse(text) is None


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer  ", " BEARER "])
async def test_a_key_is_taken_bare_or_as_a_bearer_token(keyring: Keyring, prefix: str) -> None:
    row, text = await keyring.create(ANA)
    assert await keyring.principal(prefix + text) == Principal(
        key_id=row.id,
        role=Role.USER,
        namespace="app",
        user="ana",
        workspace="w1",
        actions=frozenset({"ai_message"}),
    )


async def test_the_admin_key_of_the_environment_is_an_admin(keyring: Keyring) -> None:
    assert (await keyring.principal("Bearer the-admin-key-of-tests")).role is Role.ADMIN
    await refusal(keyring, "Bearer the-admin-keyy")


async def test_an_admin_key_that_could_be_guessed_is_refused(store: Watched) -> None:
    with pytest.raises(ConfigError, match="ORCH_ADMIN_KEY: is shorter than 16 characters"):
        Keyring(store, PEPPER, "short")


@pytest.mark.parametrize("admin_key", [None, "", "  "])
async def test_without_an_admin_key_an_empty_credential_is_nobody(store: Watched, admin_key: str | None) -> None:
    assert "no API key was sent" in await refusal(Keyring(store, PEPPER, admin_key), "Bearer  ")


async def test_an_unknown_id_and_a_wrong_secret_read_the_same(keyring: Keyring) -> None:
    _, text = await keyring.create(ANA)
    wrong_secret = await refusal(keyring, text[:-4] + ("aaaa" if text[-4:] != "aaaa" else "bbbb"))
    unknown_id = await refusal(keyring, "sk-orch-0123456789abcdef_" + "a" * 43)
    assert wrong_secret == unknown_id


async def test_a_foreign_key_is_told_what_ours_look_like(keyring: Keyring) -> None:
    assert "sk-orch-" in await refusal(keyring, "Bearer sk-proj-something")
    assert "sk-orch-" in await refusal(keyring, "\udcff")


async def test_a_revoked_key_counts_no_more_at_once_and_only_its_owner_learns_why(keyring: Keyring) -> None:
    row, text = await keyring.create(ANA)
    await keyring.principal(text)
    assert await keyring.revoke(row.id)
    assert "revoked" in await refusal(keyring, text)
    assert "revoked" not in await refusal(keyring, f"sk-orch-{row.id}_" + "a" * 43)


async def test_revoking_an_unknown_key_says_so(keyring: Keyring) -> None:
    assert not await keyring.revoke("0123456789abcdef")


async def test_a_known_key_is_read_once(store: Watched, keyring: Keyring) -> None:
    _, text = await keyring.create(ANA)
    for _ in range(5):
        await keyring.principal(text)
    assert store.reads == 1


async def test_a_revoke_that_overtakes_a_read_is_not_forgotten(store: Watched, keyring: Keyring) -> None:
    row, text = await keyring.create(ANA)
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        overtaken = group.create_task(keyring.principal(text))
        await store.reading.wait()
        await keyring.revoke(row.id)
        store.gate.set()
    assert overtaken.result().user == "ana"  # it was asked before the revoke
    assert "revoked" in await refusal(keyring, text)


async def test_a_miss_is_remembered_for_a_second_at_most(store: Watched) -> None:
    now = 100.0
    keyring = Keyring(store, PEPPER, clock=lambda: now)
    unknown = "sk-orch-0123456789abcdef_" + "a" * 43
    await refusal(keyring, unknown)
    await refusal(keyring, unknown)
    assert store.reads == 1
    now = 101.1
    await refusal(keyring, unknown)
    assert store.reads == 2


async def test_the_misses_remembered_are_bounded(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MISSES_KEPT_MAX", 2)
    keyring = Keyring(store, PEPPER, clock=lambda: 100.0)
    for digit in "1231":  # when 1 comes again it has been forgotten for 3
        await refusal(keyring, "sk-orch-" + digit * 16 + "_" + "a" * 43)
    assert store.reads == 4


async def test_the_cache_is_bounded(store: Watched, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "ROWS_KEPT_MAX", 2)
    texts = [(await keyring.create(ANA))[1] for _ in range(3)]
    for text in [*texts, texts[2], texts[1], texts[0]]:  # the last use of texts[0] reads again: it was the oldest
        await keyring.principal(text)
    assert store.reads == 4


@pytest.mark.parametrize("text", ["ana", "Ana Müller <ana@example.com>", "42", "用户/1", "x" * 200, "👩‍🚀"])
def test_printable_user_ids_pass(text: str) -> None:
    assert keys.check_user(text) == text


@pytest.mark.parametrize("text", ["", "  ", "x" * 201, "a\nb", "a\x00b", "\x7f", "a\u2028b", "\udcff"])
def test_other_user_ids_are_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        keys.check_user(text)
    assert caught.value.param == "user"
    with pytest.raises(BadRequest):
        keys.check_workspace(text)


@pytest.mark.parametrize("text", ["app", "a", "0-x", "a" * 32])
def test_namespaces_are_short_lower_case_words(text: str) -> None:
    assert keys.check_namespace(text) == text


@pytest.mark.parametrize("text", ["", "-a", "App", "a/b", "a" * 33, "a\n", "ä"])
def test_other_namespaces_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        keys.check_namespace(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": Role.USER},
        {"role": Role.SERVICE, "user": "ana"},
        {"role": Role.ADMIN, "user": "ana"},
        {"role": Role.USER, "user": "a\nb"},
        {"role": Role.USER, "user": "ana", "namespace": "A/B"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        NewKey(**wrong)


def test_the_secret_file_is_made_once_and_private(tmp_path: Path) -> None:
    made = keys.load_pepper(tmp_path / "data", {})
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert keys.load_pepper(tmp_path / "data", {}) == made
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["secret"]


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        read = pool.starmap(keys.load_pepper, [(tmp_path, {})] * 8, chunksize=1)
    assert len(set(read)) == 1


def test_the_secret_of_the_environment_wins(tmp_path: Path) -> None:
    assert keys.load_pepper(tmp_path, {"ORCH_SECRET": "0123456789abcdef"}) == b"0123456789abcdef"
    assert not (tmp_path / "secret").exists()


def test_a_short_secret_in_the_environment_is_refused_without_printing_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ORCH_SECRET") as caught:
        keys.load_pepper(tmp_path, {"ORCH_SECRET": "hunter2"})
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(("content", "mode", "says"), [("x" * 43, 0o644, "chmod 600"), ("x", 0o600, "damaged")])
def test_a_secret_file_that_cannot_be_trusted_is_refused(tmp_path: Path, content: str, mode: int, says: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=says):
        keys.load_pepper(tmp_path, {})


def test_a_secret_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ORCH_SECRET"):
        keys.load_pepper(tmp_path / "file" / "data", {})


async def test_a_rotated_key_is_another_text_of_the_same_rights_and_the_old_one_counts_no_more(
    keyring: Keyring,
) -> None:
    row, text = await keyring.create(NewKey(role=Role.USER, user="ana", models=("gpt-4o",)))
    before = await keyring.principal(text)
    fresh, fresh_text = await keyring.rotate(row.id)
    assert await keyring.principal(fresh_text) == replace(before, key_id=fresh.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        await keyring.principal(text)


async def test_a_key_rotated_with_grace_counts_until_that_is_over(store: Watched) -> None:
    now = 1_000
    keyring = Keyring(store, PEPPER, now_ms=lambda: now)
    row, text = await keyring.create(NewKey(role=Role.SERVICE))
    await keyring.rotate(row.id, grace_ms=500)
    old = await store.key(row.id)
    assert old is not None
    assert old.expires_at is not None
    now = old.expires_at - 1
    assert (await keyring.principal(text)).key_id == row.id
    now = old.expires_at
    with pytest.raises(Unauthenticated, match="revoked"):
        await keyring.principal(text)
    assert old.revoked_at is None
