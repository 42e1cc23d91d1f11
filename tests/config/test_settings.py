"""Settings: the defaults, and what the reference documentation is made of."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.config.settings import Config, ModelSettings, Price, UpstreamSettings


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for shape in (schema, *schema["$defs"].values()):
        for name, described in shape.get("properties", {}).items():
            yield f"{shape['title']}.{name}", described


def test_every_setting_describes_itself() -> None:
    undescribed = [
        name for name, described in fields_of(Config.model_json_schema()) if not described.get("description")
    ]
    assert undescribed == []


def test_an_empty_configuration_is_whole() -> None:
    config = Config.model_validate({})
    assert config.server.listen == "127.0.0.1:4000"
    assert config.store == "sqlite:///data/orch.db"
    assert config.policies == "policies/default.yaml"
    assert config.upstreams == {}
    assert config.models == {}


def test_settings_never_change_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config.model_validate({}).store = "sqlite:///other.db"  # type: ignore[misc]


def test_a_model_has_at_least_one_deployment() -> None:
    with pytest.raises(ValidationError, match="deployments"):
        ModelSettings.model_validate({"class": "premium", "deployments": []})


def test_prices_are_decimal_and_whole_pico_dollars_a_token() -> None:
    assert Price.model_validate({"input": 0.1}).input == Decimal("0.1")
    for too_fine_or_wrong in (0.0000001, -1, float("inf"), float("nan"), 1e9):
        with pytest.raises(ValidationError, match="input"):
            Price.model_validate({"input": too_fine_or_wrong})


def test_a_secret_is_masked_wherever_settings_are_printed() -> None:
    upstream = UpstreamSettings.model_validate({"api_key": "sk-canary", "headers": {"x-key": "sk-canary"}})
    assert "canary" not in repr(upstream) + str(upstream) + upstream.model_dump_json()
