"""The head of a request: what the parser lets pass is checked before anything acts on it."""

from __future__ import annotations

import pytest

from proxy.config.settings import Limits
from proxy.edge.head import Target, check_head, target
from proxy.errors import BadRequest, ExpectationFailed, HeadTooLarge, OrchError, WrongMethod

LIMITS = Limits()
HOST = (b"host", b"localhost")


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"127.0.0.1:4000",
        b"[::1]:4000",
        b"[2001:db8::1]",
        b"my_service.prod",
        b"a,b",
        b"a-b.example.",
        b"x:1 ",
    ],
)
def test_a_host_is_taken_in_every_form(host: bytes) -> None:
    check_head("POST", "1.1", [(b"host", host)], LIMITS)


@pytest.mark.parametrize(
    "host",
    [b"", b" ", b"a b", b"a/b", b"a@b", b"http://a", b"a:b", b"a:123456", b"[::1", b"h\xff", b"a:1:2", b"a#"],
)
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    with pytest.raises(BadRequest, match="not a host"):
        check_head("POST", "1.1", [(b"host", host)], LIMITS)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_two_hosts_are_refused(version: str) -> None:
    with pytest.raises(BadRequest, match="2 host headers"):
        check_head("POST", version, [HOST, HOST], LIMITS)


def test_only_http_1_0_may_leave_the_host_out() -> None:
    check_head("GET", "1.0", [], LIMITS)
    with pytest.raises(BadRequest, match="no host"):
        check_head("GET", "1.1", [], LIMITS)


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(BadRequest, match=version):
        check_head("GET", version, [HOST], LIMITS)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity", b"chunked, chunked", b"xchunked", b""])
def test_a_transfer_encoding_other_than_chunked_is_refused(coding: bytes) -> None:
    check_head("POST", "1.1", [HOST, (b"transfer-encoding", b" Chunked ")], LIMITS)
    with pytest.raises(BadRequest, match="transfer-encoding"):
        check_head("POST", "1.1", [HOST, (b"transfer-encoding", coding)], LIMITS)


def test_http_1_0_has_no_transfer_encoding() -> None:
    with pytest.raises(BadRequest, match=r"HTTP/1\.0"):
        check_head("POST", "1.0", [HOST, (b"transfer-encoding", b"chunked")], LIMITS)


def test_an_expectation_other_than_100_continue_is_refused() -> None:
    known, other = [HOST, (b"expect", b"100-Continue")], [HOST, (b"expect", b"200-ok")]
    assert check_head("POST", "1.1", known, LIMITS)
    with pytest.raises(ExpectationFailed, match="200-ok"):
        check_head("POST", "1.1", other, LIMITS)


def test_http_1_0_expects_nothing() -> None:
    assert not check_head("POST", "1.0", [HOST, (b"expect", b"200-ok")], LIMITS)
    assert not check_head("POST", "1.1", [HOST], LIMITS)


def test_connect_is_refused() -> None:
    with pytest.raises(WrongMethod, match="CONNECT"):
        check_head("CONNECT", "1.1", [HOST], LIMITS)


def test_headers_over_the_cap_are_refused_and_at_the_cap_are_not() -> None:
    limits = Limits(head_bytes_max=1024)
    spent = len(b"host" + b"localhost") + 4 + len(b"x") + 4
    check_head("POST", "1.1", [HOST, (b"x", b"a" * (1024 - spent))], limits)
    with pytest.raises(HeadTooLarge, match=r"1024 bytes \(head_bytes_max\)"):
        check_head("POST", "1.1", [HOST, (b"x", b"a" * (1025 - spent))], limits)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (b"/v1/models?a=b", Target("/v1/models", b"/v1/models", b"a=b")),
        (b"http://other.example:80/v1/models?a=b", Target("/v1/models", b"/v1/models", b"a=b")),
        (b"http://other.example", Target("/", b"/", b"")),
        (b"/v1/%6dodels", Target("/v1/models", b"/v1/%6dodels", b"")),
        (b"//evil.example/v1", Target("//evil.example/v1", b"//evil.example/v1", b"")),
        (b"*", Target("*", b"*", b"")),
    ],
)
def test_a_target_is_read_in_every_form(url: bytes, parts: Target) -> None:
    assert target(url) == parts


@pytest.mark.parametrize("url", [b"host:1", b"?x", b"", b"http:///a"])
def test_a_target_that_is_none_is_refused(url: bytes) -> None:
    with pytest.raises(OrchError, match="not a path"):
        target(url)
