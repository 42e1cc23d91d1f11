"""Providers: what we know of them by name, and which of them the environment holds keys for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import SecretStr

from proxy.config.addresses import checked_base_url, checked_secret
from proxy.config.settings import UpstreamSettings
from proxy.config.tree import Place, problem_at
from proxy.errors import Problem

ENVIRONMENT = Place("environment", 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider under LiteLLM's name for it.

    ``variables`` hold its key, the first that is set counts (none: it needs no key and serves what its owner put there);
    ``base_url`` is its OpenAI-compatible API (None: it is asked through LiteLLM); ``base_url_variable`` may hold another
    base URL, as the provider's own SDK reads it.
    """

    name: str
    variables: tuple[str, ...]
    base_url: str | None = None
    base_url_variable: str | None = None
    stream_usage: bool = True


def _compatible(name: str, variable: str, base_url: str) -> Provider:
    return Provider(name=name, variables=(variable,), base_url=base_url)


# In this order: where two offer a model of the same name, the first keeps the name.
PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            Provider(
                name="openai",
                variables=("OPENAI_API_KEY",),
                base_url="https://api.openai.com/v1",
                base_url_variable="OPENAI_BASE_URL",
            ),
            Provider(name="anthropic", variables=("ANTHROPIC_API_KEY",), base_url_variable="ANTHROPIC_BASE_URL"),
            Provider(name="gemini", variables=("GEMINI_API_KEY", "GOOGLE_API_KEY")),
            # Mistral refuses stream_options with 422 and sends the usage unasked.
            Provider(
                name="mistral",
                variables=("MISTRAL_API_KEY",),
                base_url="https://api.mistral.ai/v1",
                stream_usage=False,
            ),
            _compatible("groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
            _compatible("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
            _compatible("xai", "XAI_API_KEY", "https://api.x.ai/v1"),
            _compatible("perplexity", "PERPLEXITY_API_KEY", "https://api.perplexity.ai"),
            _compatible("cerebras", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"),
            _compatible("moonshot", "MOONSHOT_API_KEY", "https://api.moonshot.ai/v1"),
            _compatible("together_ai", "TOGETHER_API_KEY", "https://api.together.xyz/v1"),
            _compatible("fireworks_ai", "FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1"),
            _compatible("deepinfra", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai"),
            _compatible("sambanova", "SAMBANOVA_API_KEY", "https://api.sambanova.ai/v1"),
            _compatible("nvidia_nim", "NVIDIA_API_KEY", "https://integrate.api.nvidia.com/v1"),
            Provider(name="ollama", variables=(), base_url="http://127.0.0.1:11434/v1"),
            _compatible("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        )
    }
)
SELF_HOSTED = frozenset({"hosted_vllm", "vllm", "lm_studio", "llamafile", "openai_like", "custom_openai"})
"""OpenAI-compatible servers that everyone runs at an address of their own."""

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "claude": "anthropic",
        "google": "gemini",
        "grok": "xai",
        "together": "together_ai",
        "fireworks": "fireworks_ai",
        "nvidia": "nvidia_nim",
    }
)
MOCK = "mock"
MOCK_UPSTREAM = UpstreamSettings(provider=MOCK, via="mock")


def discover(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, UpstreamSettings]:
    """An upstream for each provider whose key is in the environment, under the provider's name."""
    found = {}
    for provider in PROVIDERS.values():
        variable, key = _key(provider, environ)
        if not key:
            continue
        base_url = environ.get(provider.base_url_variable or "", "").strip()
        sound = _passes(checked_secret, key, variable, problems)
        if base_url:
            sound &= _passes(checked_base_url, base_url, str(provider.base_url_variable), problems)
        if sound:
            found[provider.name] = completed(
                UpstreamSettings(
                    provider=provider.name, api_key=SecretStr(key), base_url=base_url.rstrip("/") or provider.base_url
                )
            )
    return found


def completed(
    settings: UpstreamSettings, *, name: str = "", environ: Mapping[str, str] | None = None
) -> UpstreamSettings:
    """The upstream with all its defaults written out: provider, via and, where they are known, base URL and key.

    A key is taken from the environment only for the provider's own address.
    """
    provider = provider_of(settings, name)
    known = PROVIDERS.get(provider)
    via = settings.via or _via(provider, known)
    passthrough = via == "passthrough"
    filled: dict[str, object] = {"provider": provider, "via": via}
    if known and passthrough:
        filled["base_url"] = settings.base_url or known.base_url
    if known and "stream_usage" not in settings.model_fields_set:
        filled["stream_usage"] = known.stream_usage
    if known and via != "mock" and settings.api_key is None and settings.base_url is None:
        _, key = _key(known, environ or {})
        filled["api_key"] = SecretStr(key) if key else None
    return settings.model_copy(update=filled)


def provider_of(settings: UpstreamSettings, name: str) -> str:
    """LiteLLM's name of the upstream's provider; ``name`` is the upstream's."""
    if settings.provider:
        return settings.provider
    if settings.via == "mock":
        return MOCK
    if settings.base_url is None:
        return name
    return next((known.name for known in PROVIDERS.values() if known.base_url == settings.base_url), "openai")


def has_known_models(settings: UpstreamSettings, name: str) -> bool:
    """Whether the provider's catalog is what the upstream offers; at an address of one's own nobody can tell."""
    known_address = settings.base_url in (None, *(known.base_url for known in PROVIDERS.values()))
    provider = PROVIDERS.get(provider_of(settings, name))
    keyless = provider is not None and not provider.variables
    return (settings.provider is not None or known_address) and not keyless


def _via(provider: str, known: Provider | None) -> str:
    if provider == MOCK:
        return "mock"
    compatible = provider in SELF_HOSTED or (known is not None and known.base_url is not None)
    return "passthrough" if compatible else "litellm"


def _key(provider: Provider, environ: Mapping[str, str]) -> tuple[str, str]:
    for variable in provider.variables:
        if key := environ.get(variable, "").strip():
            return variable, key
    return "".join(provider.variables[:1]), ""


def _passes(check: Callable[[str], str], text: str, variable: str, problems: list[Problem]) -> bool:
    try:
        check(text)
    except ValueError as error:
        problems.append(problem_at(ENVIRONMENT, variable, str(error)))
        return False
    return True
