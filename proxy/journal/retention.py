"""Retention: what the operator wants kept of calls, and for how long. It may change while the proxy runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from proxy.journal.masks import Masks

REFUSALS_PER_MINUTE = 60

KEEP_MS_MIN = 3_600_000
"""A call that ended less long ago than this is never pruned: its close may still be taken back."""


class Keep(Enum):
    """Of which calls the bodies are kept."""

    OFF = "off"
    ERRORS = "errors"  # those that were not answered
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``keep_ms``: how long calls are kept after they ended; None: for ever."""

    keep_ms: int | None = None
    bodies: Keep = Keep.OFF
    masks: Masks = field(default_factory=Masks)
    refusals_per_minute: int = REFUSALS_PER_MINUTE


@dataclass(slots=True)
class Retention:
    """The rules in force; the composition root puts others in its place when the configuration is read again."""

    rules: Rules = field(default_factory=Rules)
