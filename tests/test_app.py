"""The composition root: what a configuration opens, and what a reload keeps."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from proxy.app import Upstreams, opened
from proxy.config import load
from proxy.config.settings import Config, Limits, UpstreamSettings
from proxy.config.watch import Asked
from proxy.errors import OrchError
from proxy.testing import ScriptedUpstream
from proxy.upstream.mock import MockUpstream
from proxy.upstream.port import Upstream
from tests.story.conftest import FILES, config


def _config(*names: str, connections_max: int = 256) -> Config:
    settings = {"via": "mock", "connections_max": connections_max}
    return Config.model_validate({"upstreams": {name: settings for name in names}})


async def test_an_upstream_whose_settings_did_not_change_keeps_its_client() -> None:
    clients = Upstreams()

    first = await clients.open(_config("a", "b"))
    second = await clients.open(_config("a", "c"))
    third = await clients.open(_config("a", connections_max=7))

    assert second["a"] is first["a"]
    assert set(second) == {"a", "c"}
    assert third["a"] is not first["a"]
    await clients.aclose()


@pytest.mark.filterwarnings("ignore:Unclosed client session")  # aiohttp tells the loop too, which is what is looked at
async def test_an_upstream_that_cannot_be_opened_leaves_none_open() -> None:
    unclosed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unclosed.append(told["message"]))
    opens, does_not = {"base_url": "http://127.0.0.1:9/v1"}, {"via": "passthrough", "provider": "nobody"}

    with pytest.raises(OrchError, match="needs a base_url"):
        await Upstreams().open(Config.model_validate({"upstreams": {"a": opens, "b": does_not}}))

    gc.collect()
    assert unclosed == []


async def test_a_store_that_another_proxy_holds_cannot_be_opened(tmp_path: Path, store: Path) -> None:
    async with ScriptedUpstream() as upstream:
        path = tmp_path / "config.yaml"
        path.write_text(config(upstream))
        for name, text in FILES.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        loaded = load(path, {})

        async with opened(loaded, load=lambda: loaded, environ={}, reload_asked=Asked()):
            with pytest.raises(OrchError, match="in use by process"):
                async with opened(loaded, load=lambda: loaded, environ={}, reload_asked=Asked()):
                    raise AssertionError

        async with opened(loaded, load=lambda: loaded, environ={}, reload_asked=Asked()) as again:
            assert await again.store.healthy()


async def test_a_client_that_cannot_be_closed_leaves_no_other_open() -> None:
    closed: list[str] = []

    class Stuck(MockUpstream):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        async def aclose(self) -> None:
            closed.append(self._name)
            raise OSError("stuck")

    async def opening(name: str, settings: UpstreamSettings, limits: Limits) -> Upstream:
        return Stuck(name)

    clients = Upstreams(opening)
    await clients.open(_config("a", "b", "c"))
    await clients.open(_config("c"))

    await clients.close(clients.retired)
    assert closed == ["a", "b"]
    await clients.aclose()
    assert closed == ["a", "b", "c"]
