"""Opening an upstream from what the operator wrote."""

from __future__ import annotations

import pytest

from proxy.config.settings import Limits, UpstreamSettings
from proxy.errors import ConfigError
from proxy.upstream import open_upstream
from proxy.upstream.mock import MockUpstream
from proxy.upstream.passthrough import Passthrough


async def test_the_mock_and_a_passthrough_are_chosen_by_name_and_url() -> None:
    assert isinstance(await open_upstream("mock", UpstreamSettings(), Limits()), MockUpstream)
    local = await open_upstream("local", UpstreamSettings(base_url="http://127.0.0.1:9/v1"), Limits())
    assert isinstance(local, Passthrough)
    await local.aclose()
    known = await open_upstream("mistral", UpstreamSettings(), Limits())
    assert isinstance(known, Passthrough)
    assert not known.stream_usage  # it would refuse the question
    await known.aclose()


async def test_a_passthrough_without_a_url_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"upstreams\.acme.*needs a base_url"):
        await open_upstream("acme", UpstreamSettings(via="passthrough"), Limits())
