"""How many calls run at once."""

from __future__ import annotations

import pytest

from proxy.edge.gateway import Serving
from proxy.errors import Overloaded


async def test_a_call_over_the_cap_is_refused_and_a_place_is_given_back() -> None:
    serving = Serving()

    with serving.one(1):
        with pytest.raises(Overloaded, match="calls_max"), serving.one(1):
            raise AssertionError
    with serving.one(1):
        assert serving.running == 1


async def test_a_call_that_fails_gives_its_place_back() -> None:
    serving = Serving()

    with pytest.raises(LookupError), serving.receiving(1), serving.one(1):
        raise LookupError

    assert serving.running == 0
    assert serving.idle.is_set()


async def test_a_request_on_its_way_in_takes_no_place_but_is_waited_for() -> None:
    serving = Serving()

    with serving.receiving(1), serving.receiving(1), serving.one(1):
        assert not serving.idle.is_set()
        assert serving.running == 1
    assert serving.idle.is_set()


async def test_a_request_is_refused_before_it_is_received_while_every_place_is_taken() -> None:
    serving = Serving()

    with serving.one(1), pytest.raises(Overloaded, match="calls_max"), serving.receiving(1):
        raise AssertionError
