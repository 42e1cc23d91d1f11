"""Addresses: what can work is taken, what cannot is refused without repeating it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.addresses import (
    checked_base_url,
    checked_header,
    checked_secret,
    checked_store,
    is_loopback,
    parse_listen,
    store_below,
    store_path,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4000", ("127.0.0.1", 4000)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:4000", ("::1", 4000)),
        ("my-host.example:80", ("my-host.example", 80)),
    ],
)
def test_a_listen_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("4000", "must be host:port"),
        (":4000", "must be host:port"),
        ("", "must be host:port"),
        ("127.0.0.1:", "the port must be a number from 0 to 65535"),
        ("127.0.0.1:65536", "the port must be a number from 0 to 65535"),
        ("127.0.0.1:" + "9" * 5000, "the port must be a number"),
        ("127.0.0.1:٤", "the port must be a number"),
        ("127.0.0.1:-1", "the port must be a number"),
        ("::1:4000", "an IPv6 address needs brackets"),
        ("[::g]:4000", "no IPv6 address in the brackets"),
        ("http://127.0.0.1:4000", "an IPv6 address needs brackets"),
        ("a b:4000", "the host must be a name or an address"),
    ],
)
def test_a_listen_address_that_cannot_work_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_listen(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "::ffff:127.0.0.1"])
def test_only_this_machine_can_connect_to_a_loopback_host(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "::ffff:10.0.0.1", "localhost.example"]
)
def test_any_other_host_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_base_url_loses_the_slash_at_its_end() -> None:
    assert checked_base_url("https://api.example.com/v1/") == "https://api.example.com/v1"
    assert checked_base_url("http://[::1]:8000/v1") == "http://[::1]:8000/v1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("api.example.com/v1", "must be an http:// or https:// URL"),
        ("ftp://example.com", "must be an http:// or https:// URL"),
        ("https://", "must be an http:// or https:// URL"),
        ("https://exa mple.com/v1", "must be an http:// or https:// URL"),
        ("https://example.com:99999/v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https://user:hunter2@example.com/v1", "must not contain a user name or a password"),
        ("https://:hunter2@example.com/v1", "must not contain a user name or a password"),
        ("https://example.com/v1?key=hunter2", "must not have a query"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_without_repeating_it(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        checked_base_url(text)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("postgresql://localhost/orch", "PostgreSQL is not in this version"),
        ("postgresql+asyncpg://localhost/orch", "PostgreSQL is not in this version"),
        ("sqlite://", "must be sqlite:/// and the path of a file"),
        ("sqlite:///", "must be sqlite:/// and the path of a file"),
        ("sqlite:///data/", "must be sqlite:/// and the path of a file"),
        ("data/orch.db", "must be sqlite:/// and the path of a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite:///data/orch.db?mode=ro", "takes no options"),
    ],
)
def test_a_store_that_cannot_work_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked_store(text)


def test_a_relative_store_starts_at_the_given_folder_and_an_absolute_one_stays() -> None:
    assert store_below("sqlite:///data/orch.db", Path("/etc/orch")) == "sqlite:////etc/orch/data/orch.db"
    assert store_path("sqlite:////etc/orch/data/orch.db") == Path("/etc/orch/data/orch.db")
    assert store_below("sqlite:////srv/orch.db", Path("/etc/orch")) == "sqlite:////srv/orch.db"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (checked_secret, ""),
        (checked_secret, "sk-1\n"),
        (checked_secret, "sk-1\r\nx-evil: 1"),
        (checked_secret, " sk-1"),
        (checked_secret, "sk-é"),
        (checked_header, ""),
        (checked_header, "x y"),
        (checked_header, "x:y"),
        (checked_header, "x\n"),
    ],
)
def test_what_does_not_fit_into_a_header_is_refused(check: Callable[[str], str], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        check(text)
    assert "sk-" not in str(raised.value)


def test_a_key_may_contain_what_header_values_contain() -> None:
    assert checked_secret("Bearer sk-1_2.3/4+5=") == "Bearer sk-1_2.3/4+5="
    assert checked_header("x-api-version") == "x-api-version"
