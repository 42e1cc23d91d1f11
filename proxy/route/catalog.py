"""Catalog: what LiteLLM's bundled model map says of a model (prices, limits, what it cannot do), read as plain JSON.

LiteLLM itself is not imported (that costs seconds and 160 MB); only its file is opened. Reading costs about 35 ms of
CPU, 13 MB for a moment and 5 MB after. A map that is missing or broken makes an empty catalog: every model is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from importlib.util import find_spec
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from proxy.call import Operation

MAP_NAME = "model_prices_and_context_window_backup.json"
PICO = 10**12
OPERATIONS = MappingProxyType({"chat": Operation.CHAT, "embedding": Operation.EMBEDDINGS})

_MODALITIES = MappingProxyType({"vision": ("supports_vision", "image"), "audio": ("supports_audio_input", "audio")})
_ABILITIES = MappingProxyType({"tools": "supports_function_calling", "schema": "supports_response_schema"})
# The map splits some providers by API or model family; operators name the provider.
_FAMILIES = ("vertex_ai-", "fireworks_ai-")
_SAME_PROVIDER = MappingProxyType({"cohere_chat": "cohere", "bedrock_converse": "bedrock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one model at one provider. Prices are pico-dollars a token (1e-12 USD); None: unknown, never 0.

    ``lacks`` holds those of vision, audio, tools and schema that the model is known not to do.
    """

    operation: Operation
    input_picousd: int | None = None
    output_picousd: int | None = None
    cached_input_picousd: int | None = None
    input_tokens_max: int | None = None
    output_tokens_max: int | None = None
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Row:
    facts: Facts
    offered: bool


class Catalog:
    """Facts by LiteLLM's name of the provider and the provider's name of the model."""

    def __init__(self, rows: Mapping[str, Mapping[str, _Row]]) -> None:
        self._rows = rows

    @classmethod
    def read(cls, path: Path | None = None, *, today: date | None = None) -> Catalog:
        """Read the map at ``path`` (default: the installed LiteLLM's); ``today`` (UTC) tells who is retired."""
        today_iso = (today or datetime.now(UTC).date()).isoformat()  # the map's dates are ISO: text compares as time
        rows: dict[str, dict[str, _Row]] = {}
        for key, entry in _entries(path or _bundled_path()):
            facts = _facts(entry)
            if facts is None:
                continue
            provider, name, prefixed = _place(key, entry)
            known = rows.setdefault(provider, {})
            if prefixed or name not in known:  # "deepseek/deepseek-chat" goes before a bare "deepseek-chat"
                known[name] = _Row(facts, offered=_is_described(facts) and _is_offered(name, entry, today_iso))
        return cls(rows)

    def facts(self, provider: str, model: str) -> Facts | None:
        """What is known of ``model`` (with or without the provider's prefix) at ``provider``; None: nothing."""
        row = self._rows.get(_family(provider), {}).get(model.removeprefix(f"{provider}/"))
        return row.facts if row else None

    def names(self, provider: str) -> tuple[str, ...]:
        """The provider's chat and embedding models, without its prefix, sorted.

        Fine-tuning bases, price brackets and retired models are left out; dated snapshots stay.
        """
        rows = self._rows.get(_family(provider), {})
        return tuple(sorted(name for name, row in rows.items() if row.offered))


def _bundled_path() -> Path | None:
    spec = find_spec("litellm")  # importlib.resources would import the package
    return Path(spec.origin).with_name(MAP_NAME) if spec and spec.origin else None


def _entries(path: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        entries = orjson.loads(path.read_bytes()) if path else {}
    except (OSError, orjson.JSONDecodeError):
        return
    if not isinstance(entries, dict):
        return
    yield from ((key, entry) for key, entry in entries.items() if isinstance(entry, dict))


def _family(provider: str) -> str:
    for prefix in _FAMILIES:
        if provider.startswith(prefix):
            return prefix[:-1]
    return _SAME_PROVIDER.get(provider, provider)


def _place(key: str, entry: Mapping[str, Any]) -> tuple[str, str, bool]:
    """The provider, the model's name there, and whether the key carried the provider's prefix."""
    provider = _family(str(entry.get("litellm_provider")))
    prefix = f"{provider}/"
    return provider, key.removeprefix(prefix), key.startswith(prefix)


def _is_described(facts: Facts) -> bool:
    return facts.input_picousd is not None or facts.input_tokens_max is not None  # else: a tool's fee ("container")


def _is_offered(name: str, entry: Mapping[str, Any], today_iso: str) -> bool:
    retired_on = entry.get("deprecation_date")
    retired = isinstance(retired_on, str) and retired_on <= today_iso
    # "together-ai-4.1b-8b" is a price bracket by size, "1-month-commitment/…" a contract, "ft:…" a fine-tuning base.
    oddity = name.startswith(("ft:", "together-ai-", "fireworks-ai-")) or "commitment" in name or "*" in name
    return not retired and not oddity


def _facts(entry: Mapping[str, Any]) -> Facts | None:
    operation = OPERATIONS.get(str(entry.get("mode")))
    if operation is None:
        return None
    embeds = operation is Operation.EMBEDDINGS
    output_picousd = _picousd(entry.get("output_cost_per_token"))
    return Facts(
        operation=operation,
        input_picousd=_picousd(entry.get("input_cost_per_token")),
        output_picousd=0 if embeds and output_picousd is None else output_picousd,  # vectors are not billed by token
        cached_input_picousd=_picousd(entry.get("cache_read_input_token_cost")),
        input_tokens_max=_tokens(entry.get("max_input_tokens")),
        output_tokens_max=None if embeds else _tokens(entry.get("max_output_tokens")),
        lacks=frozenset() if embeds else frozenset(_lacks(entry)),
    )


def _picousd(price_usd: object) -> int | None:
    """USD a token to whole pico-dollars. A float's shortest text is what the file says: 2.5e-06 is 2,500,000."""
    if isinstance(price_usd, bool) or not isinstance(price_usd, int | float) or not 0 <= price_usd < inf:
        return None
    return int((Decimal(repr(price_usd)) * PICO).to_integral_value(ROUND_HALF_UP))


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _lacks(entry: Mapping[str, Any]) -> Iterator[str]:
    """What is missing: a ``supports_*`` that is false or, for images and sound, not there among others that are.

    An absent ``supports_function_calling`` or ``supports_response_schema`` proves nothing: some that can lack it.
    """
    described = any(key.startswith("supports_") for key in entry)
    listed = entry.get("supported_modalities")
    modalities = listed if isinstance(listed, list) else ()
    for ability, (key, modality) in _MODALITIES.items():
        if not entry.get(key, not described) and modality not in modalities:
            yield ability
    for ability, key in _ABILITIES.items():
        if entry.get(key) is False:
            yield ability
