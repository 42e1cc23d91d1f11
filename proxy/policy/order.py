"""Orders of the chain that cannot work, found at load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.call import Model
from proxy.policy.base import PolicyBase
from proxy.policy.unpriced import Unpriced


def order_problems(policies: Sequence[PolicyBase], models: Mapping[str, Model]) -> Iterator[tuple[int, str]]:
    """(index in the chain, what cannot work there and what to move where)."""
    yield from ()


def with_recording(policies: Sequence[PolicyBase]) -> tuple[PolicyBase, ...]:
    """The chain as it runs: with what no YAML can leave out put in (the asked model's check, and the record of every call)."""
    if any(policy.kind == "energy" for policy in policies):
        return tuple(policies)
    kinds = [policy.kind for policy in policies]
    at = next((index for index, kind in enumerate(kinds) if kind in ("fallback", "retry", "timeout")), len(kinds))
    return (*policies[:at], Unpriced(), *policies[at:])
