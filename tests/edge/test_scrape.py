"""From near means: over loopback, and not forwarded."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.edge.scrape import is_near


@pytest.mark.parametrize(
    ("host", "headers", "near"),
    [
        ("127.0.0.1", [], True),
        ("127.8.8.8", [], True),
        ("::1", [], True),
        ("::ffff:127.0.0.1", [], True),
        ("10.0.0.5", [], False),
        ("0.0.0.0", [], False),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1")], False),
        ("127.0.0.1", [(b"forwarded", b"for=1.2.3.4")], False),
        ("127.0.0.1", [(b"via", b"1.1 proxy")], False),
        ("127.0.0.1", [(b"host", b"metrics.example")], True),
    ],
)
def test_near_is_loopback_and_not_forwarded(host: str, headers: list[tuple[bytes, bytes]], near: bool) -> None:
    scope: dict[str, Any] = {"type": "http", "server": (host, 4000), "headers": headers}
    assert is_near(scope) is near


def test_a_server_that_nobody_names_is_not_near() -> None:
    assert not is_near({"type": "http", "server": None, "headers": []})
