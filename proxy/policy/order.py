"""The order of the chain: what cannot work is found at load; what no YAML may leave out is put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from proxy.call import Model
from proxy.policy.auth import Auth
from proxy.policy.base import PolicyBase
from proxy.policy.energy import Energy
from proxy.policy.fallback import Fallback
from proxy.policy.known import Known
from proxy.policy.naming import did_you_mean
from proxy.policy.prices import PriceList
from proxy.policy.retry import Retry
from proxy.policy.rewrite import Rewrite
from proxy.policy.timeout import Timeout
from proxy.policy.unpriced import Unpriced

Kind = TypeVar("Kind", bound=PolicyBase)
OrderProblem = tuple[int, str]
"""(index of the policy in the chain, what cannot work there and what to move where)."""

# What must stand before what, and why.
_BEFORE: tuple[tuple[type[PolicyBase], type[PolicyBase], str], ...] = (
    (Energy, Fallback, "a call is priced and held before other models are asked"),
    (Energy, Retry, "a call is priced and held once, not per attempt"),
    (Energy, Timeout, "a call is priced and held once, not per attempt"),
    (Rewrite, Fallback, "fallback chooses by the model behind the alias"),
    (Rewrite, Retry, "retry asks the model behind the alias"),
    (Rewrite, Timeout, "aliases are resolved before any attempt"),
    (Fallback, Retry, "fallback only names the models, retry asks them"),
    (Retry, Timeout, "timeout cuts one attempt, which retry follows with the next"),
)


def order_problems(policies: Sequence[PolicyBase], models: Mapping[str, Model]) -> Iterator[OrderProblem]:
    """Chains that cannot work."""
    yield from _first(policies)
    yield from _twice(policies)
    yield from _misplaced(policies)
    if (fallback := _place(policies, Fallback)) is not None and _place(policies, Retry) is None:
        yield fallback, "fallback names models that only a retry policy asks: add `- {kind: retry}` after it"
    yield from _rewritten_behind_energy(policies, models)
    yield from _unknown_to_auth(policies, models)


def with_recording(policies: Sequence[PolicyBase]) -> tuple[PolicyBase, ...]:
    """The chain as it runs: before what prices the call a look whether its model exists; where nothing does, its record."""
    kinds = (Energy, Fallback, Retry, Timeout)
    at = next((place for place, policy in enumerate(policies) if isinstance(policy, kinds)), len(policies))
    recording = () if _place(policies, Energy) is not None else (Unpriced(),)
    return (*policies[:at], Known(), *recording, *policies[at:])


def energy_prices(policies: Sequence[PolicyBase]) -> PriceList | None:
    """The price list of the chain; None: it prices nothing."""
    energy = _only(policies, Energy)
    return None if energy is None else energy.prices


def _place(policies: Sequence[PolicyBase], kind: type[PolicyBase]) -> int | None:
    return next((place for place, policy in enumerate(policies) if isinstance(policy, kind)), None)


def _only(policies: Sequence[PolicyBase], kind: type[Kind]) -> Kind | None:
    return next((policy for policy in policies if isinstance(policy, kind)), None)


def _first(policies: Sequence[PolicyBase]) -> Iterator[OrderProblem]:
    auth = _place(policies, Auth)
    if auth is None:
        yield 0, "the chain has no auth policy: add `- {kind: auth}` as its first entry"
    elif auth > 0:
        yield auth, "auth must be the first policy: move it to the top"


def _twice(policies: Sequence[PolicyBase]) -> Iterator[OrderProblem]:
    seen: dict[str, int] = {}
    for place, policy in enumerate(policies):
        if policy.kind in seen:
            yield (
                place,
                f"a second {policy.kind} policy: policies[{seen[policy.kind]}] is one already, keep one of them",
            )
        seen.setdefault(policy.kind, place)


def _misplaced(policies: Sequence[PolicyBase]) -> Iterator[OrderProblem]:
    for outer, inner, why in _BEFORE:
        before, behind = _place(policies, outer), _place(policies, inner)
        if before is not None and behind is not None and behind < before:
            kind = policies[before].kind
            yield before, f"{kind} must stand before {policies[behind].kind} ({why}): move {kind} up"


def _rewritten_behind_energy(policies: Sequence[PolicyBase], models: Mapping[str, Model]) -> Iterator[OrderProblem]:
    """Behind energy the price is held already: an alias there must be a model with a price, and may not raise it."""
    energy, rewrite = _place(policies, Energy), _place(policies, Rewrite)
    if energy is None or rewrite is None or rewrite < energy:
        return
    prices, policy = energy_prices(policies), _only(policies, Rewrite)
    assert prices is not None
    assert policy is not None
    for alias, target in policy.targets.items():
        if alias not in models:
            yield rewrite, f"energy cannot price the alias {alias!r} before it is resolved: move rewrite before energy"
        elif action := _raised(prices, alias, target, models):
            yield (
                rewrite,
                f"{alias!r} -> {target!r} raises the price of {action!r} after it was held: move rewrite before energy",
            )


def _raised(prices: PriceList, alias: str, target: str, models: Mapping[str, Model]) -> str | None:
    """An action that costs more on the target; a price that is missing is the price list's own problem."""
    was, becomes = prices.class_of(alias, models), prices.class_of(target, models)
    for name, action in prices.actions.items():
        if action.points.get(becomes, 0) > action.points.get(was, 0):
            return name
    return None


def _unknown_to_auth(policies: Sequence[PolicyBase], models: Mapping[str, Model]) -> Iterator[OrderProblem]:
    """Names in auth's lists that nothing has; a glob may wait for what is to come."""
    auth, rewrite, prices = _only(policies, Auth), _only(policies, Rewrite), energy_prices(policies)
    if auth is None:
        return
    place = policies.index(auth)
    known = [*models, *(rewrite.alias if rewrite is not None else ())]
    for name in auth.models or ():
        if not _is_glob(name) and name not in known:
            yield place, f"auth.models: no model or alias named {name!r}{did_you_mean(name, known)}"
    if prices is None:
        return
    actions = [*prices.actions, prices.embeddings_action]
    for name in auth.actions or ():
        if not _is_glob(name) and name not in actions:
            yield place, f"auth.actions: no action named {name!r}{did_you_mean(name, actions)}"


def _is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")
