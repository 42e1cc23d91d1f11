"""Passthrough over real sockets: what is sent, what is handed on, and every way in which a server can fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from proxy.call import Operation
from proxy.config.settings import Limits, UpstreamSettings
from proxy.errors import (
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.testing import (
    Script,
    ScriptedUpstream,
    answer,
    chunk,
    close,
    completion,
    delta,
    done,
    end,
    error,
    event,
    finish,
    hang,
    head,
    raw,
    reset,
    stream,
    wait_for,
)
from proxy.upstream.passthrough import Passthrough, open_passthrough
from proxy.upstream.port import UpstreamRequest

KEY = "a-key-of-no-known-shape"
LIMITS = Limits(answer_bytes_max=200_000, sse_event_bytes_max=100_000)
GZIP = {"content-encoding": "gzip"}
WAIT_S = 5  # never reached: a test that waits longer has failed


@asynccontextmanager
async def opened(base_url: str, **settings: Any) -> AsyncIterator[Passthrough]:
    upstream = await open_passthrough(
        "test", UpstreamSettings(base_url=base_url, api_key=SecretStr(KEY), **settings), LIMITS
    )
    try:
        yield upstream
    finally:
        await upstream.aclose()


def request(*, stream: bool = True, operation: Operation = Operation.CHAT, **body: Any) -> UpstreamRequest:
    content = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **body}
    return UpstreamRequest(call_id="call-1", operation=operation, model="gpt-4o", body=content, stream=stream)


WHOLE = request(stream=False)


async def ask(upstream: Passthrough, what: UpstreamRequest) -> list[bytes]:
    taken: list[bytes] = []

    async def take(received: bytes) -> None:
        taken.append(received)

    async with asyncio.timeout(WAIT_S):
        await upstream.send(what, take)
    return taken


# --- what is sent and what is handed on ------------------------------------------------------------------------------


async def test_a_request_carries_the_body_the_key_the_call_id_and_the_operators_headers() -> None:
    extra = {"X-Team": SecretStr("blue"), "openai-organization": SecretStr("org-1")}
    async with ScriptedUpstream() as server, opened(server.base_url + "/", headers=extra) as upstream:
        await ask(upstream, request(unknown_field={"deep": [1, "é", None]}, big=12345678901234567890123))
    received = server.requests[0]
    assert (received.method, received.path) == ("POST", "/v1/chat/completions")
    assert received.body["unknown_field"] == {"deep": [1, "é", None]}
    assert received.body["big"] == 12345678901234567890123
    assert received.call_id == "call-1"
    sent = {
        name: received.headers[name] for name in ("authorization", "accept-encoding", "x-team", "openai-organization")
    }
    assert sent == {
        "authorization": f"Bearer {KEY}",
        "accept-encoding": "identity",
        "x-team": "blue",
        "openai-organization": "org-1",
    }


async def test_embeddings_have_their_own_path() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        taken = await ask(upstream, request(stream=False, operation=Operation.EMBEDDINGS, input=["a", "b"]))
    assert server.requests[0].path == "/v1/embeddings"
    assert len(json.loads(taken[0])["data"]) == 2


async def test_a_whole_answer_is_handed_on_byte_for_byte() -> None:
    body = b'{ "choices":\n [{"message": {"content": "\\u00e9 \xc3\xa9"}}],"new": 1.0 }\n'
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(answer(body))
        assert await ask(upstream, WHOLE) == [body]


async def test_events_are_handed_on_byte_for_byte_however_they_are_cut() -> None:
    sent = [
        b": comment\r\n\r\n",
        b"event: x\r\ndata: {\r\ndata: }\r\n\r\n",
        b'data: {"choices": [{"delta": {"content": "\xe2\x82\xac"}}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    joined = b"".join(sent)
    for size in (1, 3, len(joined)):
        pieces = [chunk(joined[start : start + size]) for start in range(0, len(joined), size)]
        async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
            server.will([head(), *pieces, end()])
            assert await ask(upstream, request()) == sent


async def test_an_event_is_handed_on_before_the_next_one_is_sent() -> None:
    first, go_on = asyncio.Event(), asyncio.Event()

    async def take(received: bytes) -> None:
        go_on.set()  # the server sends nothing more until it has seen this
        first.set()

    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will([head(), event(delta("a")), wait_for(go_on), done(), end()])
        async with asyncio.timeout(WAIT_S):
            await upstream.send(request(), take)
    assert first.is_set()


async def test_a_last_event_without_its_blank_line_is_handed_on_with_one() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will([head(), event(delta("a")), chunk(b"data: [DONE]"), end()])
        assert (await ask(upstream, request()))[-1] == b"data: [DONE]\n\n"


async def test_answers_read_to_their_end_share_one_connection() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        for what in (request(), WHOLE, request()):
            await ask(upstream, what)
        server.will(error(500))
        with pytest.raises(UpstreamUnavailable):
            await ask(upstream, WHOLE)
        await ask(upstream, WHOLE)
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_a_large_request_goes_out_whole() -> None:
    text = "x" * 3_000_000
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        await ask(upstream, request(stream=False, extra=text))
    assert server.requests[0].body["extra"] == text
    assert server.requests[0].headers["content-length"] == str(len(server.requests[0].raw))


async def test_an_answer_compressed_unasked_is_unpacked() -> None:
    body = json.dumps(completion()).encode()
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(answer(gzip.compress(body), headers=GZIP))
        assert await ask(upstream, WHOLE) == [body]


async def test_a_cookie_of_the_provider_is_not_sent_back() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url.replace("127.0.0.1", "localhost")) as upstream:
        server.will(answer(completion(), headers={"set-cookie": "session=1; Path=/"}))
        await ask(upstream, WHOLE)
        await ask(upstream, WHOLE)
    assert "cookie" not in server.requests[1].headers


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        await ask(upstream, WHOLE)
    assert len(server.requests) == 1


# --- every way to fail -----------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[UpstreamRequest, Script, type[UpstreamError]]] = {
    "reset before an answer": (WHOLE, [reset()], UpstreamUnavailable),
    "closed before an answer": (WHOLE, [close()], UpstreamUnavailable),
    "closed inside the head": (WHOLE, [raw(b"HTTP/1.1 200 OK\r\ncontent-"), close()], UpstreamUnavailable),
    "not HTTP": (WHOLE, [raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), close()], UpstreamUnavailable),
    "a huge header": (
        WHOLE,
        [raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"), close()],
        UpstreamUnavailable,
    ),
    "a content-length that is no number": (
        WHOLE,
        [raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), close()],
        UpstreamUnavailable,
    ),
    "closed inside the body": (WHOLE, [head(200, {"content-length": "100"}), raw(b"{"), close()], UpstreamUnavailable),
    "reset inside the body": (WHOLE, [head(200, {"content-length": "100"}), raw(b"{"), reset()], UpstreamUnavailable),
    "gzip that is none": (WHOLE, answer(b"junk", headers=GZIP), UpstreamUnavailable),
    "a gzip bomb": (WHOLE, answer(gzip.compress(bytes(5_000_000)), headers=GZIP), UpstreamRefused),
    "a giant body": (WHOLE, answer(b"x" * 300_000), UpstreamRefused),
    "a body without end": (WHOLE, [head(), *[chunk(b"x" * 50_000)] * 5, hang()], UpstreamRefused),
    "a redirect": (WHOLE, answer(b"", status=307, headers={"location": "/v2/elsewhere"}), UpstreamRefused),
    "400": (WHOLE, error(400, "bad temperature"), UpstreamRejected),
    "401": (WHOLE, error(401, "wrong key"), UpstreamRefused),
    "429": (WHOLE, error(429, headers={"retry-after": "7"}), UpstreamLimited),
    "500": (WHOLE, error(500), UpstreamUnavailable),
    "500 in a stream": (request(), error(500), UpstreamUnavailable),
    "201": (WHOLE, answer(completion(), status=201), UpstreamUnavailable),
    "204": (WHOLE, [raw(b"HTTP/1.1 204 No Content\r\n\r\n")], UpstreamUnavailable),
    "400 whose body breaks off": (
        WHOLE,
        [head(400, {"content-length": "100"}), raw(b'{"error"'), reset()],
        UpstreamRejected,
    ),
    "400 whose body has no end": (WHOLE, [head(400), *[chunk(b"x" * 50_000)] * 3, hang()], UpstreamRejected),
    "HTML for a stream": (request(), answer(b"<html>", headers={"content-type": "text/html"}), UpstreamUnavailable),
    "an error with 200 for a stream": (
        request(),
        answer({"error": {"message": "slow down", "type": "rate_limit_error"}}),
        UpstreamLimited,
    ),
    "a whole answer for a stream": (request(), answer(completion()), UpstreamUnavailable),
    "other JSON for a stream": (request(), answer({"hello": 1}), UpstreamUnavailable),
    "no JSON for a stream": (request(), answer(b"{"), UpstreamUnavailable),
    "half an event, then closed": (request(), [head(), chunk(b'data: {"cho'), close()], UpstreamUnavailable),
    "an event, then reset": (request(), [head(), event(delta("a")), reset()], UpstreamUnavailable),
    "a giant event": (request(), [head(), *[chunk(b"data: " + b"x" * 60_000)] * 2, hang()], UpstreamUnavailable),
    "a chunk size that is no number": (request(), [head(), raw(b"zz\r\n"), close()], UpstreamUnavailable),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_each_misbehaviour_has_its_error_and_is_asked_once(failure: str) -> None:
    what, script, expected = FAILURES[failure]
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(script)
        with pytest.raises(UpstreamError) as failed:
            await ask(upstream, what)
        assert type(failed.value) is expected
        assert len(server.requests) == 1
        assert KEY not in str(failed.value)
        await ask(upstream, what)  # and the next request is served as if nothing had been
    assert len(server.requests) == 2


async def test_events_under_another_content_type_are_tried_as_events() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        sent = b"data: [DONE]\n\n"
        server.will(answer(sent, headers={"content-type": "text/plain"}))
        assert await ask(upstream, request()) == [sent]


async def test_retry_after_and_the_providers_words_come_with_the_error() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(error(429, f"slow down, {KEY}", code="rate_limit_exceeded", headers={"Retry-After": "7"}))
        with pytest.raises(UpstreamLimited) as failed:
            await ask(upstream, WHOLE)
    assert failed.value.retry_after_s == 7
    assert failed.value.status == 429
    assert failed.value.detail is not None
    assert failed.value.detail["message"] == "slow down, [redacted]"
    assert failed.value.message == "OpenAI API error: 429 - slow down, [redacted]"


async def test_nobody_listening_is_an_upstream_that_is_not_available() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    async with opened(f"http://127.0.0.1:{port}/v1") as upstream:
        with pytest.raises(UpstreamUnavailable) as failed:
            await ask(upstream, WHOLE)
    assert "refused the connection" in failed.value.message


async def test_a_connection_that_is_not_taken_in_time_is_a_timeout() -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())  # the queue of one is full now: the kernel drops whoever comes next
        async with opened(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", connect_s=0.05) as upstream:
            with pytest.raises(UpstreamTimeout, match="did not take the connection in time"):
                await ask(upstream, WHOLE)


async def test_a_server_without_tls_behind_an_https_url_is_not_available() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"https://127.0.0.1:{port}/v1") as upstream:
        with pytest.raises(UpstreamUnavailable, match="TLS"):
            await ask(upstream, WHOLE)


@pytest.mark.parametrize("ours", [OSError("the client's socket"), TimeoutError("ours"), ValueError("a defect")])
async def test_what_the_taker_raises_is_not_taken_for_the_upstreams_failure(ours: Exception) -> None:
    async def take(received: bytes) -> None:
        raise ours

    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        for what in (request(), WHOLE):
            with pytest.raises(type(ours)) as raised:
                await upstream.send(what, take)
            assert raised.value is ours


# --- cancellation ----------------------------------------------------------------------------------------------------

SCRIPTS: dict[str, Callable[[], Script]] = {
    "before the head": lambda: [hang()],
    "inside the head": lambda: [raw(b"HTTP/1.1 200 OK\r\n"), hang()],
    "inside the body": lambda: [head(200, {"content-length": "9"}), raw(b"{"), hang()],
    "inside the body of an error": lambda: [head(500, {"content-length": "9"}), raw(b"{"), hang()],
}


@pytest.mark.parametrize("where", SCRIPTS)
async def test_the_upstream_sees_a_cancellation(where: str) -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(SCRIPTS[where]())
        asking = asyncio.ensure_future(ask(upstream, WHOLE))
        received = await server.arrived()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(1):
            await received.hung_up.wait()


async def test_the_upstream_sees_a_cancellation_inside_a_stream() -> None:
    came = asyncio.Event()

    async def take(received: bytes) -> None:
        came.set()

    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will([head(), event(delta("a")), hang()])
        asking = asyncio.ensure_future(upstream.send(request(), take))
        await came.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(1):
            await server.requests[0].hung_up.wait()


async def test_the_upstream_sees_that_its_answer_was_not_wanted_to_the_end() -> None:
    async def take(received: bytes) -> None:
        raise UpstreamUnavailable("not an answer")

    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will([head(), event(delta("a")), hang()])
        with pytest.raises(UpstreamUnavailable):
            await upstream.send(request(), take)
        async with asyncio.timeout(1):
            await server.requests[0].hung_up.wait()


async def test_more_requests_than_connections_wait_their_turn() -> None:
    release = asyncio.Event()
    async with ScriptedUpstream() as server, opened(server.base_url, connections_max=2) as upstream:
        server.always([head(), event(finish()), wait_for(release), done(), end()])
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(ask(upstream, request()))
            await server.arrived(2)
            assert server.connections == 2
            release.set()
    assert len(server.requests) == 5
    assert server.connections == 2


async def test_streams_at_once_do_not_mix() -> None:
    async with ScriptedUpstream() as server, opened(server.base_url) as upstream:
        server.will(*[stream(delta(str(number))) for number in range(8)])
        answers = await asyncio.gather(*[ask(upstream, request()) for _ in range(8)])
    texts = {json.loads(taken[0][6:])["choices"][0]["delta"]["content"] for taken in answers}
    assert texts == {str(number) for number in range(8)}
