"""Settings in words, from their models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.config.reference import Setting, described
from proxy.config.settings import Config, Limits, Settings


class Shape(Settings):
    """Of every kind one."""

    kind: Literal["x"]
    flag: bool = Field(False, description="A flag.")
    count: int = Field(3, ge=1, le=9, description="A number.")
    share: float | None = Field(None, gt=0, description="Perhaps.")
    names: tuple[str, ...] = Field((), max_length=5, description="Some.")
    by_name: dict[str, int] = Field(default_factory=dict, description="A map.")
    inner: Limits = Field(default_factory=Limits, description="More.")
    word: Literal["a", "b"] = Field("a", description="One of two.")
    must: str = Field(alias="class", description="Needed.")


def test_every_setting_but_the_kind_is_told() -> None:
    assert list(described(Shape)) == [
        Setting("flag", "`true`, `false`", "`false`", "A flag."),
        Setting("count", "whole number from 1 to 9", "`3`", "A number."),
        Setting("share", "number more than 0", "none", "Perhaps."),
        Setting("names", "list of text, at most 5", "empty", "Some."),
        Setting("by_name", "name → whole number", "empty", "A map."),
        Setting("inner", "mapping", "see there", "More."),
        Setting("word", "`a`, `b`", "`a`", "One of two."),
        Setting("class", "text", "required", "Needed."),
    ]


def test_bytes_are_told_in_units_too() -> None:
    told = {setting.name: setting.default for setting in described(Limits)}
    assert told["body_bytes_max"] == "`33554432` (32 MiB)"
    assert told["head_bytes_max"] == "`65536` (64 KiB)"


def test_the_whole_configuration_can_be_told() -> None:
    assert {setting.name for setting in described(Config)} == Config.model_fields.keys()
