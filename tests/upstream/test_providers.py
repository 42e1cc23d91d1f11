"""Providers: what people call them."""

from __future__ import annotations

from proxy.config.providers import PROVIDERS
from proxy.upstream.providers import DISPLAY, display_of


def test_a_provider_we_do_not_know_is_called_by_its_own_name() -> None:
    assert display_of("openai") == "OpenAI"
    assert display_of("acme") == "acme"


def test_every_provider_that_the_configuration_knows_has_a_name() -> None:
    assert set(PROVIDERS) <= set(DISPLAY)
