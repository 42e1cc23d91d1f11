"""Providers by LiteLLM's name: what to call them, and where those that speak OpenAI's protocol are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from proxy.config.settings import UpstreamSettings

Via = Literal["passthrough", "litellm", "mock"]


@dataclass(frozen=True, slots=True)
class Provider:
    """``base_url``: its OpenAI-compatible endpoint; None: it is reached through LiteLLM unless the operator names a URL."""

    display: str
    base_url: str | None = None


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "openai": Provider("OpenAI", "https://api.openai.com/v1"),
        "anthropic": Provider("Anthropic"),
        "azure": Provider("Azure OpenAI"),
        "bedrock": Provider("Bedrock"),
        "cerebras": Provider("Cerebras", "https://api.cerebras.ai/v1"),
        "cohere": Provider("Cohere"),
        "deepseek": Provider("DeepSeek", "https://api.deepseek.com/v1"),
        "fireworks_ai": Provider("Fireworks", "https://api.fireworks.ai/inference/v1"),
        "gemini": Provider("Gemini"),
        "groq": Provider("Groq", "https://api.groq.com/openai/v1"),
        "hosted_vllm": Provider("vLLM"),
        "mistral": Provider("Mistral"),
        "mock": Provider("Mock"),
        "ollama": Provider("Ollama", "http://127.0.0.1:11434/v1"),
        "openrouter": Provider("OpenRouter", "https://openrouter.ai/api/v1"),
        "perplexity": Provider("Perplexity"),
        "together_ai": Provider("Together", "https://api.together.xyz/v1"),
        "vertex_ai": Provider("Vertex AI"),
        "xai": Provider("xAI", "https://api.x.ai/v1"),
    }
)


def display_of(provider: str) -> str:
    """What people call the provider; its own name when we do not know it."""
    known = PROVIDERS.get(provider)
    return known.display if known else provider


def provider_of(name: str, settings: UpstreamSettings) -> str:
    """The provider of the upstream called ``name``: as set, else openai with a base_url, else the upstream's own name."""
    return settings.provider or ("openai" if settings.base_url else name)


def base_url_of(name: str, settings: UpstreamSettings) -> str | None:
    """Where the upstream speaks OpenAI's protocol, without a slash at the end; None: nowhere we know of."""
    known = PROVIDERS.get(provider_of(name, settings))
    found = settings.base_url or (known.base_url if known else None)
    return found.rstrip("/") if found else None


def via_of(name: str, settings: UpstreamSettings) -> Via:
    """How the upstream is reached: as set, else mock for the mock, passthrough where it speaks OpenAI's protocol, else litellm.

    A base_url alone means an OpenAI-compatible server; with another provider's name it is that provider's own endpoint.
    """
    if settings.via is not None:
        return settings.via
    provider = provider_of(name, settings)
    if provider == "mock":
        return "mock"
    known = PROVIDERS.get(provider)
    return "passthrough" if known is not None and known.base_url is not None else "litellm"
