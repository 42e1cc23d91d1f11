"""Providers: what people call them."""

from __future__ import annotations

from proxy.config.providers import PROVIDERS
from proxy.config.settings import UpstreamSettings
from proxy.upstream.providers import DISPLAY, display_of, provider_of


def test_a_provider_we_do_not_know_is_called_by_its_own_name() -> None:
    assert display_of("openai") == "OpenAI"
    assert display_of("acme") == "acme"


def test_every_provider_that_the_configuration_knows_has_a_name() -> None:
    assert set(PROVIDERS) <= set(DISPLAY)


def test_a_url_alone_is_an_openai_compatible_server() -> None:
    assert provider_of("local", UpstreamSettings(base_url="http://127.0.0.1:8000/v1")) == "openai"
    assert provider_of("anthropic", UpstreamSettings()) == "anthropic"
