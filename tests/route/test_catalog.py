"""The catalog against small maps of our own, and against the one LiteLLM ships."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.call import Operation
from proxy.route.catalog import Catalog, Facts

TODAY = date(2026, 1, 15)


def catalog_of(tmp_path: Path, entries: Any) -> Catalog:
    path = tmp_path / "map.json"
    path.write_bytes(entries if isinstance(entries, bytes) else orjson.dumps(entries))
    return Catalog.read(path, today=TODAY)


def chat(provider: str, **more: Any) -> dict[str, Any]:
    return {"litellm_provider": provider, "mode": "chat", "input_cost_per_token": 1e-06, **more}


def facts_of(tmp_path: Path, entry: dict[str, Any]) -> Facts:
    facts = catalog_of(tmp_path, {"m": entry}).facts("openai", "m")
    assert facts is not None
    return facts


@pytest.mark.parametrize(
    ("written", "picousd"),
    [
        (b"2.5e-06", 2_500_000),
        (b"1.25e-6", 1_250_000),
        (b"0.0000003", 300_000),
        (b"7.5e-8", 75_000),
        (b"5e-09", 5_000),
        (b"0", 0),
        (b"0.0", 0),
        (b"1", 10**12),
        (b"1.5000020000000002e-05", 15_000_020),
        (b"-1e-6", None),
        (b"true", None),
        (b'"2.5e-06"', None),
        (b"null", None),
        (b"{}", None),
    ],
)
def test_a_price_becomes_exactly_its_pico_dollars(tmp_path: Path, written: bytes, picousd: int | None) -> None:
    text = b'{"m": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": %b}}' % written
    facts = catalog_of(tmp_path, text).facts("openai", "m")
    assert facts is not None
    assert facts.input_picousd == picousd


def test_a_price_the_map_does_not_give_is_unknown_and_not_zero(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"litellm_provider": "openai", "mode": "chat"})
    assert (facts.input_picousd, facts.output_picousd, facts.cached_input_picousd) == (None, None, None)
    assert (facts.input_tokens_max, facts.output_tokens_max) == (None, None)


def test_vectors_cost_nothing_by_output_token(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-8})
    assert facts == Facts(operation=Operation.EMBEDDINGS, input_picousd=20_000, output_picousd=0)


def test_a_model_is_found_with_and_without_its_providers_prefix(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, {"gpt-x": chat("openai"), "gemini/gem-x": chat("gemini", max_input_tokens=7)})
    assert catalog.facts("openai", "gpt-x") == catalog.facts("openai", "openai/gpt-x") is not None
    assert catalog.facts("gemini", "gem-x") == catalog.facts("gemini", "gemini/gem-x") is not None
    assert catalog.facts("gemini", "gpt-x") is None
    assert catalog.facts("nobody", "gpt-x") is None


def test_the_prefixed_entry_goes_before_a_bare_one_of_the_same_model(tmp_path: Path) -> None:
    entries = {
        "d/one": chat("d", max_input_tokens=1),
        "one": chat("d", max_input_tokens=2),
        "two": chat("d", max_input_tokens=2),
        "d/two": chat("d", max_input_tokens=1),
    }
    catalog = catalog_of(tmp_path, entries)
    found = [catalog.facts("d", name) for name in ("one", "two")]
    assert [facts and facts.input_tokens_max for facts in found] == [1, 1]


def test_the_maps_parts_of_one_provider_are_that_provider(tmp_path: Path) -> None:
    entries = {"vertex_ai/g": chat("vertex_ai-language-models"), "c": chat("cohere_chat")}
    catalog = catalog_of(tmp_path, entries)
    assert catalog.names("vertex_ai") == ("g",)
    assert catalog.names("cohere") == catalog.names("cohere_chat") == ("c",)


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        ({}, set()),
        ({"supports_vision": False}, {"vision", "audio"}),
        ({"supports_tool_choice": True}, {"vision", "audio"}),
        ({"supports_vision": True, "supports_audio_input": True}, set()),
        ({"supports_vision": True, "supports_audio_input": False}, {"audio"}),
        ({"supports_tool_choice": True, "supported_modalities": ["text", "image", "audio"]}, set()),
        ({"supports_tool_choice": True, "supported_modalities": 5}, {"vision", "audio"}),
        ({"supports_vision": True, "supports_audio_input": True, "supports_function_calling": False}, {"tools"}),
        ({"supports_vision": True, "supports_audio_input": True, "supports_response_schema": False}, {"schema"}),
    ],
)
def test_only_what_the_map_says_is_missing_is_lacking(tmp_path: Path, said: dict[str, Any], lacks: set[str]) -> None:
    assert facts_of(tmp_path, chat("openai", **said)).lacks == lacks


def test_retired_fine_tuned_priceless_and_other_kinds_of_models_are_not_offered(tmp_path: Path) -> None:
    entries = {
        "p/b": chat("p"),
        "p/a": chat("p", deprecation_date="2026-01-16"),
        "p/e": {"litellm_provider": "p", "mode": "embedding", "max_input_tokens": 1},
        "p/gone": chat("p", deprecation_date="2026-01-15"),
        "ft:p": chat("p"),
        "p/eu/1-month-commitment/x": chat("p"),
        "p/picture": chat("p") | {"mode": "image_generation"},
        "p/container": {"litellm_provider": "p", "mode": "chat"},
        "sample_spec": {"litellm_provider": "one of …", "mode": "one of: chat, …"},
        "not a model": 3,
    }
    catalog = catalog_of(tmp_path, entries)
    assert catalog.names("p") == ("a", "b", "e")
    assert catalog.facts("p", "gone") is not None, "a retired model that is named is still priced"
    assert catalog.facts("p", "picture") is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"m": {"mode": ["chat"]}}', b"[" * 5000])
def test_a_broken_map_is_an_empty_catalog(tmp_path: Path, text: bytes) -> None:
    assert catalog_of(tmp_path, text).names("openai") == ()


def test_a_missing_map_is_an_empty_catalog(tmp_path: Path) -> None:
    assert Catalog.read(tmp_path / "none.json").facts("openai", "gpt-4o") is None


def test_the_bundled_map_is_read_without_importing_litellm() -> None:
    code = """if True:
        import sys
        from proxy.route.catalog import Catalog
        catalog = Catalog.read()
        facts = catalog.facts("openai", "gpt-4o")
        assert "litellm" not in sys.modules
        print(facts.input_picousd, facts.output_picousd, facts.cached_input_picousd)
        print(facts.input_tokens_max, sorted(facts.lacks))
        print(all(catalog.names(p) for p in ("openai", "anthropic", "gemini", "mistral", "groq", "cohere")))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["2500000 10000000 1250000", "128000 ['audio']", "True"]
