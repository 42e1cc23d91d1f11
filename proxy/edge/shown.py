"""What reads answer: the shapes of ``/v1`` beside calls, as ``/openapi.json`` tells them. Times are Unix milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from proxy.edge.headers import usd


class Shown(BaseModel):
    """Base of every answer: what it is made of is what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class Alive(Shown):
    status: Literal["alive"] = "alive"


class Ready(Shown):
    status: Literal["ready"] = "ready"
    policy: str = Field(description="The version of the policies in force.")


class NotReady(Shown):
    status: Literal["not ready"] = "not ready"
    reason: str = "the store does not take writes"


class ModelShown(Shown):
    object: Literal["model"] = "model"
    id: str
    created: int = 0
    owned_by: str = Field(description="The provider of its first deployment.")


class ModelList(Shown):
    object: Literal["list"] = "list"
    data: tuple[ModelShown, ...]


class ActionShown(Shown):
    points: dict[str, int] = Field(description="Class of model -> points.")
    now: dict[str, int | None] = Field(
        description="What a call on a model of the class would cost with this balance; null: it would be refused."
    )


class EnergyShown(Shown):
    """An account's points. The prices are there where the chain has an energy policy."""

    object: Literal["energy"] = "energy"
    user: str
    plan: str
    balance: int
    held: int = Field(description="Points held for running calls.")
    available: int = Field(description="balance - held: what can be spent.")
    default_action: str | None = None
    embeddings_action: str | None = None
    actions: dict[str, ActionShown] | None = None


class CallEnergy(Shown):
    held: int = Field(description="Points held while the call is open.")
    charged: int
    refunded: int


class CallUsage(Shown):
    """Tokens as the provider counted them, or estimated; null where nobody answered."""

    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    estimated: bool


class AttemptShown(Shown):
    """One request to an upstream; times are milliseconds from the call's arrival."""

    model: str
    upstream: str
    provider: str
    upstream_model: str
    status: int | None
    error: str | None
    started_ms: int | None
    first_content_ms: int | None
    ended_ms: int | None


class CallShown(Shown):
    """One call, whatever became of it."""

    object: Literal["call"] = "call"
    id: str
    state: Literal["open", "closed", "refused"]
    how: str | None = Field(description="How it ended; null while it is open, and where it was refused.")
    operation: str
    action: str | None
    requested_model: str
    model: str | None
    downgraded_from: str | None
    provider: str | None
    upstream: str | None
    error: str | None
    policy_version: str
    price_version: str | None
    created_at: int
    closed_at: int | None
    first_content_ms: int | None
    duration_ms: int | None
    energy: CallEnergy
    cost_usd: str | None = Field(description="An exact decimal; null where it is not known.")
    usage: CallUsage
    attempts: tuple[AttemptShown, ...]


_MADE = frozenset({"object", "energy", "cost_usd", "usage", "attempts"})


def call_fields(row: Mapping[str, Any], shape: type[CallShown] = CallShown) -> dict[str, Any]:
    """The fields of ``shape`` from a row of ``calls``: most are columns of the same name."""
    cost, attempts = row["cost_nanousd"], row["attempts"]
    return {
        **{name: row[name] for name in shape.model_fields if name not in _MADE},
        "energy": {
            "held": row["points_held"] if row["state"] == "open" else 0,
            "charged": row["points_charged"],
            "refunded": row["points_refunded"],
        },
        "cost_usd": None if cost is None else usd(cost),
        "usage": {
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cached_input_tokens": row["cached_input_tokens"],
            "estimated": bool(row["usage_estimated"]),
        },
        "attempts": orjson.loads(attempts) if attempts else [],
    }
