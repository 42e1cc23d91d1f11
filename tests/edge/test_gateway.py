"""How many calls run at once."""

from __future__ import annotations

import pytest

from proxy.edge.gateway import Serving
from proxy.errors import Overloaded


async def test_a_call_over_the_cap_is_refused_and_a_place_is_given_back() -> None:
    serving = Serving()

    with serving.one(1):
        assert not serving.idle.is_set()
        with pytest.raises(Overloaded, match="calls_max"), serving.one(1):
            raise AssertionError
    assert serving.idle.is_set()
    with serving.one(1):
        assert serving.running == 1


async def test_a_call_that_fails_gives_its_place_back() -> None:
    serving = Serving()

    with pytest.raises(LookupError), serving.one(1):
        raise LookupError

    assert serving.running == 0
