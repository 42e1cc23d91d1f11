"""Bad input over raw sockets: a clear error in OpenAI's shape, nothing upstream, nothing charged, a record of known callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import FILES, config

GOOD = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
ANSWER_WAIT_S = 20


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        found = json.loads(self.body)["error"]
        assert isinstance(found, dict)
        return found


async def send(proxy: RunningProxy, head: bytes, body: bytes = b"") -> Answered:
    """These bytes on a socket of their own, and what comes back."""
    host, port = proxy.root_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.closing(writer):
        writer.write(head + body)
        async with asyncio.timeout(ANSWER_WAIT_S):
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answered(int(status_line.split()[1]), headers, content)


def post(key: str, body: bytes, *extra: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *extra]
    if key:
        lines.append(f"authorization: Bearer {key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _rows(database: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
        return reader.execute("SELECT state, points_charged, error FROM calls").fetchall()


def _chat(**changes: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **changes}).encode()


BODIES = [
    ("not JSON", b"{", 400, "JSON"),
    ("empty", b"", 400, "JSON"),
    ("not UTF-8", b'{"model": "\xff\xfe"}', 400, ""),
    ("a list", b"[]", 400, "object"),
    ("a number", b"7", 400, "object"),
    ("no model", b'{"messages": [{"role": "user", "content": "hi"}]}', 400, "model"),
    ("a model that is a number", _chat(model=7), 400, "model"),
    ("no messages", b'{"model": "gpt-4o"}', 400, "messages"),
    ("empty messages", _chat(messages=[]), 400, "messages"),
    ("messages of the wrong type", _chat(messages="hi"), 400, "messages"),
    ("a message that is a string", _chat(messages=["hi"]), 400, "messages[0]"),
    ("a role that does not exist", _chat(messages=[{"role": "king", "content": "hi"}]), 400, "king"),
    ("content of the wrong type", _chat(messages=[{"role": "user", "content": 7}]), 400, "messages[0].content"),
    ("n of the wrong type", _chat(n="two"), 400, "n"),
    ("n over the action's cap", _chat(n=99), 400, "n"),
    ("stream of the wrong type", _chat(stream="yes"), 400, "stream"),
    ("metadata of the wrong type", _chat(metadata=[1]), 400, "metadata"),
    ("an unknown action", _chat(metadata={"action": "ai_coffee"}), 400, "ai_message"),
    ("an unknown model", _chat(model="gpt-5o"), 404, "gpt-4o"),
    ("an embeddings model asked to chat", _chat(model="text-embedding-3-small"), 400, "gpt-4o"),
    ("NaN", b'{"model": "gpt-4o", "temperature": NaN, "messages": [{"role": "user", "content": "hi"}]}', 400, "NaN"),
    ("nested 1,000 deep", b'{"a":' * 1000 + b"1" + b"}" * 1000, 400, "deep"),
    ("nested 100,000 deep", b"[" * 100_000, 400, "depth"),
    ("a number of 5,000 digits", _chat(seed=1).replace(b'"seed": 1', b'"seed": ' + b"9" * 5000), 400, ""),
]


@pytest.mark.parametrize(("body", "status", "names"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
async def test_a_bad_body_is_refused_clearly_recorded_and_free(
    proxy: RunningProxy, upstream: ScriptedUpstream, body: bytes, status: int, names: str
) -> None:
    key = await proxy.user_key("ana", energy=25)

    got = await send(proxy, post(key, body))

    assert got.status == status
    assert names in got.error["message"]
    assert set(got.error) == {"message", "type", "param", "code"}
    assert got.headers["x-request-id"]
    assert upstream.requests == []
    [(state, charged, error)] = await asyncio.to_thread(_rows, proxy.database)
    assert (state, charged) == ("refused", 0)
    assert error
    balance = await proxy.parts.store.balance("app/ana")
    assert balance is not None
    assert (balance.balance, balance.held) == (25, 0)


REQUESTS = [
    ("no key", post("", GOOD), 401, "User not authenticated"),
    ("a wrong key", post("sk-orch-abc_def", GOOD), 401, "User not authenticated"),
    ("a provider's key", post("sk-proj-123", GOOD), 401, "User not authenticated"),
    ("no bearer", post("", GOOD, "authorization: Basic YTpi"), 401, "Bearer"),
    ("an unknown path without a key", post("", GOOD, path="/v1/nothing"), 401, "User not authenticated"),
    ("a compressed body", post("{key}", GOOD, "content-encoding: gzip"), 415, "uncompressed"),
    ("two hosts", post("{key}", GOOD, "host: evil"), 400, "host"),
    ("a wrong method", post("{key}", b"", method="DELETE"), 405, "POST"),
    ("an unknown path", post("{key}", GOOD, path="/v1/nothing"), 404, "/v1/nothing"),
    ("two users", post("{key}", GOOD, "x-orch-user: ana", "x-orch-user: ben"), 400, "x-orch-user"),
    ("another user", post("{key}", GOOD, "x-orch-user: ben"), 403, "another user"),
    ("a switch that is none", post("{key}", GOOD, "x-orch-auto-downgrade: maybe"), 400, "x-orch-auto-downgrade"),
    ("a deadline that is none", post("{key}", GOOD, "x-orch-timeout-s: soon"), 400, "x-orch-timeout-s"),
]


@pytest.mark.parametrize(
    ("request_", "status", "names"), [case[1:] for case in REQUESTS], ids=[case[0] for case in REQUESTS]
)
async def test_a_bad_request_is_refused_clearly_and_free(
    proxy: RunningProxy, upstream: ScriptedUpstream, request_: bytes, status: int, names: str
) -> None:
    key = await proxy.user_key("ana", energy=25)

    got = await send(proxy, request_.replace(b"{key}", key.encode()))

    assert got.status == status
    assert names in got.error["message"]
    assert got.headers["x-request-id"]
    assert upstream.requests == []
    assert all(charged == 0 for _, charged, _ in await asyncio.to_thread(_rows, proxy.database))


async def test_a_wrong_method_says_which_is_right(proxy: RunningProxy) -> None:
    got = await send(proxy, post(await proxy.user_key("ana"), b"", method="PUT"))

    assert (got.status, got.headers["allow"]) == (405, "POST")


async def test_a_revoked_key_is_refused_at_once(proxy: RunningProxy) -> None:
    key = await proxy.user_key("ana", energy=25)
    assert (await send(proxy, post(key, GOOD))).status == 200

    await proxy.parts.keyring.revoke(key.removeprefix("sk-orch-").partition("_")[0])

    got = await send(proxy, post(key, GOOD))
    assert got.status == 401
    assert "User not authenticated" in got.error["message"]


async def test_a_service_key_without_a_user_is_told_how_to_name_one(proxy: RunningProxy) -> None:
    got = await send(proxy, post(await proxy.service_key(), GOOD))

    assert got.status == 400
    assert "x-orch-user" in got.error["message"]
    assert got.error["param"] == "user"


async def test_a_body_over_the_cap_is_refused_while_it_is_sent(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    small = config(upstream, "limits: {body_bytes_max: 2048}")
    async with running(tmp_path, config=small, files=FILES) as proxy:
        key = await proxy.user_key("ana", energy=25)
        head = post(key, b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
        part = b"400\r\n" + b"x" * 1024 + b"\r\n"

        got = await send(proxy, head, part * 3)  # the body never ends: the answer comes while it is being sent

    assert got.status == 413
    assert "2048" in got.error["message"]


async def test_what_is_priced_is_what_is_sent_where_a_key_comes_twice(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    key = await proxy.user_key("ana", energy=25)
    twice = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "model": "gpt-4o-mini"}'

    got = await send(proxy, post(key, twice))

    assert (got.headers["x-orch-model"], got.headers["x-orch-energy-charged"]) == ("gpt-4o-mini", "3")
    assert upstream.requests[0].raw.count(b'"model"') == 1
    assert upstream.requests[0].body["model"] == "gpt-4o-mini"


async def test_a_lone_surrogate_is_sent_on_as_it_came(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    key = await proxy.user_key("ana", energy=25)

    got = await send(proxy, post(key, GOOD.replace(b"hi", b"a \\ud83d b")))

    assert got.status == 200
    assert upstream.requests[0].body["messages"][0]["content"] == "a \ud83d b"


async def test_a_number_too_long_for_a_float_is_sent_on_digit_for_digit(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    key = await proxy.user_key("ana", energy=25)

    await send(proxy, post(key, _chat(seed=12345678901234567890123)))

    assert upstream.requests[0].body["seed"] == 12345678901234567890123
