"""Several observers as one."""

from __future__ import annotations

import logging

import pytest

from proxy.call import Call
from proxy.errors import BadRequest, OrchError, Unauthenticated
from proxy.telemetry.observers import Nothing, Observers
from proxy.testing import fake_call
from tests.telemetry.heard import Heard


class Fails:
    """Implements ``Observer``, badly."""

    def ended(self, call: Call, error: Exception | None) -> None:
        raise ZeroDivisionError

    def refused(self, call: Call, error: OrchError) -> None:
        raise ZeroDivisionError

    def turned_away(self, error: OrchError) -> None:
        raise ZeroDivisionError


def test_each_hears_of_everything_whatever_another_makes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    heard, call = Heard(), fake_call()
    observers = Observers([Fails(), heard])
    refusal, stranger = BadRequest("no"), Unauthenticated("who?")

    with caplog.at_level(logging.ERROR):
        observers.ended(call, None)
        observers.refused(call, refusal)
        observers.turned_away(stranger)

    assert (heard.endings, heard.refusals, heard.strangers) == ([(call, None)], [(call, refusal)], [stranger])
    assert caplog.messages == ["telemetry failed; the call is not affected"] * 3


async def test_where_nothing_is_counted_the_text_is_empty() -> None:
    assert await Nothing().text() == b""
