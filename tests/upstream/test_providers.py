"""Providers: names, URLs, and how each is reached."""

from __future__ import annotations

import pytest

from proxy.config.settings import UpstreamSettings
from proxy.upstream.providers import base_url_of, display_of, provider_of, via_of

URL = "http://127.0.0.1:8000/v1/"


@pytest.mark.parametrize(
    ("name", "settings", "provider", "via"),
    [
        ("openai", UpstreamSettings(), "openai", "passthrough"),
        ("my-openai", UpstreamSettings(provider="openai"), "openai", "passthrough"),
        ("local", UpstreamSettings(base_url=URL), "openai", "passthrough"),
        ("anthropic", UpstreamSettings(), "anthropic", "litellm"),
        ("claude", UpstreamSettings(provider="anthropic", base_url=URL), "anthropic", "litellm"),
        ("openai", UpstreamSettings(via="litellm"), "openai", "litellm"),
        (
            "vllm",
            UpstreamSettings(provider="hosted_vllm", base_url=URL, via="passthrough"),
            "hosted_vllm",
            "passthrough",
        ),
        ("mock", UpstreamSettings(), "mock", "mock"),
        ("demo", UpstreamSettings(via="mock"), "demo", "mock"),
        ("unheard-of", UpstreamSettings(), "unheard-of", "litellm"),
    ],
)
def test_a_provider_is_reached_as_set_else_as_it_speaks(
    name: str, settings: UpstreamSettings, provider: str, via: str
) -> None:
    assert provider_of(name, settings) == provider
    assert via_of(name, settings) == via


def test_a_base_url_is_the_operators_else_the_providers_own() -> None:
    assert base_url_of("openai", UpstreamSettings(base_url=URL)) == URL.rstrip("/")
    assert base_url_of("openai", UpstreamSettings()) == "https://api.openai.com/v1"
    assert base_url_of("anthropic", UpstreamSettings()) is None


def test_a_provider_we_do_not_know_is_called_by_its_own_name() -> None:
    assert display_of("openai") == "OpenAI"
    assert display_of("acme") == "acme"
