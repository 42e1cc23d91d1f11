"""The receiving protocol over real sockets: what is no request, what comes too late, too long, too often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

import pytest

from proxy.config.settings import Limits
from proxy.edge.protocol import PIPELINED_MAX, TURNED_AWAY_MAX, counted_as
from tests.edge.wire import WAIT_S, Client, echo, refused, request, serving

LIMITS = Limits()


CHUNKED = request("transfer-encoding: chunked")
MALFORMED = [
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", request("host: other")),
    ("a host that is none", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
    ("two framings", request("content-length: 3", "transfer-encoding: chunked")),
    ("two framings, the other way", request("transfer-encoding: chunked", "content-length: 3")),
    ("two lengths", request("content-length: 3", "content-length: 3")),
    ("lengths in a list", request("content-length: 3, 3")),
    ("a length with a sign", request("content-length: +3")),
    ("a negative length", request("content-length: -3")),
    ("a length in hex", request("content-length: 0x3")),
    ("an empty length", request("content-length:")),
    ("a length that overflows", request(f"content-length: {2**64}")),
    ("a transfer coding", request("transfer-encoding: gzip, chunked")),
    ("chunked in HTTP/1.0", b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", request("a: b\r\n c")),
    ("a folded line, by a tab", request("a: b\r\n\tc")),
    ("NUL in a value", request("a: b\0c")),
    ("NUL in a name", request("a\0: b")),
    ("a bare CR", request("a: b\rc: d")),
    ("a bare LF", request("a: b\nc: d")),
    ("lines that end in LF", b"GET / HTTP/1.1\nhost: x\n\n"),
    ("a control character", request("a: b\x01c")),
    ("a blank before the colon", request("a : b")),
    ("a blank in front of a name", b"GET / HTTP/1.1\r\n host: x\r\n\r\n"),
    ("a line without a colon", request("nothing")),
    ("a header without a name", request(": b")),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/2.0 in the request line", b"GET / HTTP/2.0\r\nhost: x\r\n\r\n"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nhost: x\r\n\r\n"),
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("a method that is none", b"G@T / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a blank in the target", b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target beyond ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target that is no path", b"GET a HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a chunk size that is none", CHUNKED + b"zz\r\n"),
    ("a chunk size with a sign", CHUNKED + b"-1\r\n"),
    ("a chunk size in C", CHUNKED + b"0x3\r\nabc\r\n"),
    ("a chunk size with a blank", CHUNKED + b"3 \r\nabc\r\n"),
    ("a chunk size ended by LF", CHUNKED + b"3\nabc\r\n"),
    ("a chunk size that overflows", CHUNKED + b"f" * 17 + b"\r\n"),
    ("a chunk longer than it says", CHUNKED + b"3\r\nabcd\r\n"),
]


@pytest.mark.parametrize("raw", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
async def test_what_is_no_request_is_refused_and_the_connection_ends(raw: bytes) -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        got = await client.asked(raw)

        assert got.status == 400
        assert refused(got)
        assert await client.rest() == b""


@pytest.mark.parametrize("raw", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
async def test_what_is_no_request_is_none_byte_by_byte_either(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        for byte in raw:
            with contextlib.suppress(ConnectionError):
                await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.answer()).status == 400
    assert not caplog.records


REFUSED = [
    ("a target over its cap", request(path="/" + "a" * 8192), 414, "target_bytes_max"),
    ("a target over its cap, not yet whole", b"GET /" + b"a" * 9000, 414, "target_bytes_max"),
    ("headers over their cap", request("a: " + "b" * 65536), 431, "head_bytes_max"),
    ("a header over all caps, not yet whole", b"GET / HTTP/1.1\r\na: " + b"b" * 80_000, 431, "head_bytes_max"),
    ("too many headers", request(*(["a: b"] * 100)), 431, "headers_max"),
    ("headers without an end", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 102, 431, "headers_max"),
    ("empty lines without an end", b"\r\n" * 40_000, 431, "head_bytes_max"),
    ("an expectation that is unknown", request("expect: 200-ok"), 417, "200-ok"),
    ("CONNECT", request(method="CONNECT", path="example.com:443"), 405, "CONNECT"),
]


@pytest.mark.parametrize(("raw", "status", "names"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_is_over_a_limit_is_refused_and_the_connection_ends(raw: bytes, status: int, names: str) -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        got = await client.asked(raw)

        assert got.status == status
        assert names in refused(got)
        assert await client.rest() == b""


@pytest.mark.parametrize("begun", [CHUNKED + b"3;a=", CHUNKED + b"0\r\na: "], ids=["extension", "trailers"])
async def test_what_goes_on_for_ever_between_chunks_is_refused(begun: bytes) -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        await client.send(begun)
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send(b"b" * 10_000)
            await asyncio.sleep(0)
        got = await answer
        assert got.status == 431
        assert "head_bytes_max" in refused(got)


async def test_limits_reloaded_hold_from_the_next_request_of_an_open_connection_on() -> None:
    in_force = [Limits()]
    async with serving(echo, lambda: in_force[-1]) as server, server.client() as client:
        many = request(*(["a: b"] * 20))
        assert (await client.asked(many)).status == 200
        in_force.append(Limits(headers_max=8))

        assert (await client.asked(many)).status == 431


# --- requests as they should be ---------------------------------------------------------------------------------------


async def test_a_request_in_single_bytes_is_received() -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        for byte in request("x-a: b", path="/v1?c=d", body=b"hello"):
            await client.send(bytes([byte]))
        got = (await client.answer()).json

    assert (got["method"], got["path"], got["query"], got["body"]) == ("POST", "/v1", "c=d", "hello")


async def test_an_absolute_target_is_its_path_and_the_host_is_not_believed() -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        got = await client.asked(request(method="GET", path="http://elsewhere.example/v1/models?a=b"))
        assert (got.json["path"], got.json["query"]) == ("/v1/models", "a=b")
        got = await client.asked(request(method="OPTIONS", path="*"))
        assert got.json["path"] == "*"


OFFERS = ["upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA", "upgrade: websocket"]


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket"])
async def test_an_upgrade_is_ignored_and_the_body_is_not_lost(offer: str) -> None:
    asked = ("connection: Upgrade, HTTP2-Settings", offer)
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with serving(echo, LIMITS) as server, server.client() as client:
        assert (await client.asked(request(*asked, body=b"hello"))).json["body"] == "hello"
        assert (await client.asked(request(*asked, "transfer-encoding: chunked") + chunks)).json["body"] == "abcde"
        await client.send(request(*asked, "content-length: 6") + b"in ")
        await client.send(b"two" + request(*asked, method="GET", path="/next"))
        assert (await client.answer()).json["body"] == "in two"
        got = (await client.answer()).json
        assert (got["path"], "upgrade" in got["headers"]) == ("/next", False)


async def test_offers_to_upgrade_may_be_pipelined_and_what_follows_is_checked() -> None:
    offer = request("connection: upgrade", "upgrade: h2c", body=b"hello")
    async with serving(echo, LIMITS) as server, server.client() as client:
        await client.send(offer * PIPELINED_MAX + request("expect: a"))
        assert [(await client.answer()).json["body"] for _ in range(PIPELINED_MAX)] == ["hello"] * PIPELINED_MAX
        assert (await client.answer()).status == 417


async def test_trailers_are_no_headers() -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        got = await client.asked(CHUNKED + b"3\r\nabc\r\n0\r\nx-orch-user: ben\r\n\r\n")
        assert (got.json["body"], got.json["headers"]) == ("abc", ["host", "transfer-encoding"])
        assert (await client.asked(request(method="GET"))).json["headers"] == ["host"]


async def test_a_client_that_expects_to_be_told_is_told_to_continue() -> None:
    async with serving(echo, LIMITS) as server, server.client() as client:
        await client.send(request("expect: 100-continue", "content-length: 2"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.asked(b"hi")).json["body"] == "hi"


async def test_pipelined_requests_are_answered_in_order() -> None:
    paths = [f"/{number}" for number in range(PIPELINED_MAX)]
    async with serving(echo, LIMITS) as server, server.client() as client:
        await client.send(b"".join(request(path=path, body=b"x") for path in paths))
        assert [(await client.answer()).json["path"] for _ in paths] == paths
        assert (await client.asked(request(path="/after"))).json["path"] == "/after"


# --- how many ---------------------------------------------------------------------------------------------------------


async def _served(client: Client) -> bool:
    return (await client.asked(request())).status == 200


async def test_a_connection_over_the_cap_is_told_so_and_room_comes_back() -> None:
    async with serving(echo, Limits(connections_max=2)) as server, server.client() as first:
        async with server.client() as second, server.client() as third:
            assert await _served(first)
            assert await _served(second)
            got = await third.answer()
            assert (got.status, got.headers["retry-after"]) == (503, "1")
            assert "connections_max" in refused(got)
            assert await third.rest() == b""
        await _fewer_than(server.server.server_state.connections, 2)
        async with server.client() as fourth:
            assert await _served(fourth)
        assert await _served(first)


async def test_far_over_the_cap_connections_are_closed_without_a_word() -> None:
    async with serving(echo, Limits(connections_max=1, linger_s=300)) as server, server.client() as first:
        assert await _served(first)
        told = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(TURNED_AWAY_MAX)]
        for reader, _ in told:
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        async with server.client() as last:
            with contextlib.suppress(ConnectionResetError):
                assert await last.rest() == b""
        assert await _served(first)
        for _, writer in told:
            writer.close()


async def test_connections_of_one_address_have_a_cap_of_their_own() -> None:
    async with serving(echo, Limits(connections_per_address_max=1)) as server:
        async with server.client() as first, server.client() as second:
            assert await _served(first)
            got = await second.answer()
            assert got.status == 503
            assert "127.0.0.1" in refused(got)
            assert "connections_per_address_max" in refused(got)
        await _fewer_than(server.server.server_state.connections, 1)
        async with server.client() as third:
            assert await _served(third)


async def _fewer_than(connections: Collection[object], count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(connections) >= count:
            await asyncio.sleep(0.001)


def test_an_address_is_counted_as_its_owners() -> None:
    assert counted_as("203.0.113.7") == "203.0.113.7"
    assert counted_as("::ffff:203.0.113.7") == "203.0.113.7"
    assert counted_as("2001:db8:1:2:3::4") == counted_as("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert counted_as("fe80::1%eth0") == "fe80::/64"
    assert counted_as("a socket's path") == "a socket's path"
