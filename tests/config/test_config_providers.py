"""Providers: a key in the environment is enough; what an upstream leaves out is filled in by what is known of its provider."""

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config.addresses import checked_base_url
from proxy.config.providers import PROVIDERS, completed, discover, has_known_models
from proxy.config.settings import UpstreamSettings
from proxy.errors import Problem


def upstream(name: str = "o", environ: Mapping[str, str] | None = None, **fields: Any) -> UpstreamSettings:
    return completed(UpstreamSettings.model_validate(fields), name=name, environ=environ)


def key_of(settings: UpstreamSettings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_base_url_in_the_table_is_one_an_operator_could_write(name: str) -> None:
    base_url = PROVIDERS[name].base_url
    assert base_url is None or checked_base_url(base_url) == base_url


def test_keys_in_the_environment_make_upstreams_in_the_order_of_the_table() -> None:
    problems: list[Problem] = []
    found = discover({"MISTRAL_API_KEY": "m", "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": " o\n", "X": "y"}, problems)
    assert problems == []
    assert {name: (settings.provider, settings.via, settings.base_url) for name, settings in found.items()} == {
        "openai": ("openai", "passthrough", "https://api.openai.com/v1"),
        "anthropic": ("anthropic", "litellm", None),
        "mistral": ("mistral", "passthrough", "https://api.mistral.ai/v1"),
    }
    assert list(found) == ["openai", "anthropic", "mistral"]
    assert [key_of(settings) for settings in found.values()] == ["o", "a", "m"]
    assert not found["mistral"].stream_usage
    assert found["openai"].stream_usage


def test_an_empty_variable_is_no_key() -> None:
    assert discover({"OPENAI_API_KEY": " "}, []) == {}


def test_the_second_variable_counts_where_the_first_is_not_set() -> None:
    assert key_of(discover({"GOOGLE_API_KEY": "g"}, [])["gemini"]) == "g"
    assert key_of(discover({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": "h"}, [])["gemini"]) == "h"


def test_openai_base_url_is_honoured() -> None:
    found = discover({"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/"}, [])
    assert found["openai"].base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "canary.example/v1"},
            "environment:1:1 OPENAI_BASE_URL: must be an http:// or https:// URL, such as https://api.openai.com/v1",
        ),
        (
            {"GROQ_API_KEY": "canary\nline"},
            "environment:1:1 GROQ_API_KEY: contains line breaks, blanks at its ends or characters no key has: look for a"
            " stray newline",
        ),
    ],
)
def test_a_variable_that_cannot_work_is_told_without_its_value(environ: dict[str, str], problem: str) -> None:
    problems: list[Problem] = []
    assert discover(environ, problems) == {}
    assert [str(one) for one in problems] == [problem]


@pytest.mark.parametrize(
    ("name", "fields", "provider", "via", "base_url"),
    [
        ("openai", {}, "openai", "passthrough", "https://api.openai.com/v1"),
        ("main", {"provider": "groq"}, "groq", "passthrough", "https://api.groq.com/openai/v1"),
        ("mine", {"base_url": "http://127.0.0.1:8000/v1"}, "openai", "passthrough", "http://127.0.0.1:8000/v1"),
        ("fast", {"base_url": "https://api.x.ai/v1"}, "xai", "passthrough", "https://api.x.ai/v1"),
        ("claude", {"provider": "anthropic"}, "anthropic", "litellm", None),
        ("mine", {"provider": "hosted_vllm", "base_url": "http://a/v1"}, "hosted_vllm", "passthrough", "http://a/v1"),
        ("azure", {"base_url": "https://a.example", "provider": "azure"}, "azure", "litellm", "https://a.example"),
        ("openai", {"via": "litellm"}, "openai", "litellm", None),
        ("mock", {}, "mock", "mock", None),
        ("demo", {"via": "mock"}, "mock", "mock", None),
        ("ollama", {}, "ollama", "passthrough", "http://127.0.0.1:11434/v1"),
    ],
)
def test_what_is_left_out_follows_from_what_is_known(
    name: str, fields: Mapping[str, Any], provider: str, via: str, base_url: str | None
) -> None:
    settings = upstream(name, **fields)
    assert (settings.provider, settings.via, settings.base_url) == (provider, via, base_url)


def test_what_the_operator_wrote_stays() -> None:
    assert upstream("mistral", stream_usage=True).stream_usage
    assert not upstream("mistral").stream_usage
    assert key_of(upstream("openai", {"OPENAI_API_KEY": "env"}, api_key="written")) == "written"


def test_the_environments_key_goes_to_the_providers_own_address_only() -> None:
    environ = {"OPENAI_API_KEY": "env"}
    assert key_of(upstream("openai", environ)) == "env"
    assert key_of(upstream("openai", environ, base_url="http://elsewhere.example/v1")) is None
    assert key_of(upstream("mine", environ, base_url="http://elsewhere.example/v1")) is None
    assert key_of(upstream("openai", environ, via="mock")) is None


def test_only_at_a_providers_own_address_are_its_models_known() -> None:
    def known(name: str, **fields: object) -> bool:
        return has_known_models(UpstreamSettings.model_validate(fields), name)

    assert known("openai")
    assert known("fast", base_url="https://api.x.ai/v1")
    assert known("gateway", base_url="http://a/v1", provider="openai")
    assert not known("gateway", base_url="http://a/v1")
    assert not known("ollama")
