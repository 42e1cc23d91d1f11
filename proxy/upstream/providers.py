"""Providers by LiteLLM's name: what people call them. Where they are and how they are reached is ``config/providers.py``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DISPLAY: Mapping[str, str] = MappingProxyType(
    {
        "openai": "OpenAI",
        "anthropic": "Anthropic",
        "azure": "Azure OpenAI",
        "bedrock": "Bedrock",
        "cerebras": "Cerebras",
        "cohere": "Cohere",
        "deepinfra": "DeepInfra",
        "deepseek": "DeepSeek",
        "fireworks_ai": "Fireworks",
        "gemini": "Gemini",
        "groq": "Groq",
        "hosted_vllm": "vLLM",
        "mistral": "Mistral",
        "mock": "Mock",
        "moonshot": "Moonshot",
        "nvidia_nim": "NVIDIA NIM",
        "ollama": "Ollama",
        "openrouter": "OpenRouter",
        "perplexity": "Perplexity",
        "sambanova": "SambaNova",
        "together_ai": "Together",
        "vertex_ai": "Vertex AI",
        "vllm": "vLLM",
        "xai": "xAI",
    }
)


def display_of(provider: str) -> str:
    """What people call the provider; its own name when we do not know it."""
    return DISPLAY.get(provider, provider)
