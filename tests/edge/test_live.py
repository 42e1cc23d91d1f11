"""The configuration in force."""

from __future__ import annotations

from proxy.call import Call, Outcome
from proxy.config.settings import Limits
from proxy.edge.live import Live, Version
from proxy.testing import fake_ports


def _version() -> Version:
    async def handler(call: Call) -> Outcome:
        raise AssertionError("not called here")

    return Version(handler=handler, ports=fake_ports(), limits=Limits(), prices=None)


async def test_a_call_keeps_the_version_it_began_with() -> None:
    old, new = _version(), _version()
    live = Live(old)

    with live.using().hold() as mine:
        before = live.swap(new)

        assert mine is old
        assert live.version is new
        assert not before.idle.is_set()
    assert before.idle.is_set()


async def test_a_version_nobody_is_on_is_idle_at_once() -> None:
    live = Live(_version())

    assert live.swap(_version()).idle.is_set()
