"""What cannot be right in a price list, found at load: every class in use has a price in every action, every name exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from proxy.call import Model, Operation
from proxy.policy.base import Finding
from proxy.policy.naming import did_you_mean, listing

if TYPE_CHECKING:
    from proxy.policy.prices import Action, PriceList


def price_problems(prices: PriceList, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Findings with where they stand in energy.yaml."""
    yield from _names(prices)
    used = _used(prices, models)
    priced = _priced(prices)
    yield from _never_priced(prices, priced)
    for name, action in prices.actions.items():
        yield from _action(name, action, used & priced, used)
    yield from _listed_twice(prices)
    yield from _downgrades(prices, models, used & priced)


def class_misfits(prices: PriceList, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Models whose own class has no price in any action, with where config.yaml says that class."""
    known = sorted(_priced(prices))
    for model in models.values():
        if model.class_ is not None and model.class_ not in known:
            yield ("models", model.name, "class"), f"the model is of {_no_price(model.class_, known)}"


def _priced(prices: PriceList) -> set[str]:
    return {class_ for action in prices.actions.values() for class_ in action.points}


def _used(prices: PriceList, models: Mapping[str, Model]) -> set[str]:
    """Every class that a configured model has or may come to have."""
    configured = {model.class_ for model in models.values() if model.class_ is not None}
    return {prices.default_class, *prices.classes, *configured}


def _names(prices: PriceList) -> Iterator[Finding]:
    actions, plans = prices.actions, prices.plans
    if prices.default_action not in actions:
        yield ("default_action",), _unknown("action", prices.default_action, list(actions))
    if "embeddings_action" in prices.model_fields_set and prices.embeddings_action not in actions:
        yield ("embeddings_action",), _unknown("action", prices.embeddings_action, list(actions))
    if prices.default_plan not in plans:
        yield ("default_plan",), _unknown("plan", prices.default_plan, list(plans))


def _never_priced(prices: PriceList, priced: set[str]) -> Iterator[Finding]:
    """A class that no action has a price for: told once, where the class is named; a model's own by ``class_misfits``."""
    known = sorted(priced)
    if prices.default_class not in priced:
        yield ("default_class",), _no_price(prices.default_class, known)
    for class_ in prices.classes:
        if class_ not in priced:
            yield ("classes", class_), _no_price(class_, known)


def _action(name: str, action: Action, needed: set[str], used: set[str]) -> Iterator[Finding]:
    """Prices missing from one action, and keys of it that are neither a class nor a cap."""
    caps = list(type(action).model_fields)
    missing = sorted(needed - set(action.points))
    for key in action.points:
        if key not in used:
            meant = did_you_mean(key, [*missing, *caps]) or f": classes are {listing(used)}; caps are {listing(caps)}"
            yield ("actions", name, key), f"no class named {key!r}{meant}"
            missing = [class_ for class_ in missing if not did_you_mean(key, [class_])]
    for class_ in missing:
        yield ("actions", name), f"no price for class {class_!r}: add `{class_}: <points>`"


def _listed_twice(prices: PriceList) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for class_, names in prices.classes.items():
        for index, name in enumerate(names):
            if name in seen:
                yield ("classes", class_, index), f"{name!r} is listed already, as {seen[name]}: list it once"
            seen.setdefault(name, class_)


def _downgrades(prices: PriceList, models: Mapping[str, Model], classes: set[str]) -> Iterator[Finding]:
    for class_, names in prices.downgrade.items():
        if class_ not in classes:
            yield ("downgrade", class_), _unknown("class", class_, sorted(classes))
            continue
        for index, name in enumerate(names):
            yield from _downgrade(prices, models, (class_, index, name))


def _downgrade(prices: PriceList, models: Mapping[str, Model], entry: tuple[str, int, str]) -> Iterator[Finding]:
    """A name that is not configured is skipped when calls run, so it is no mistake here."""
    class_, index, name = entry
    model = models.get(name)
    if model is not None and model.operation is not Operation.CHAT:
        yield ("downgrade", class_, index), f"{name!r} does not answer chat calls: take it off the list"
        return
    of = prices.class_of(name, models)
    both = [action.points for action in prices.actions.values() if {of, class_} <= set(action.points)]
    if both and not any(points[of] < points[class_] for points in both):
        yield ("downgrade", class_, index), f"{name!r} is of class {of!r}, which no action prices below {class_!r}"


def _no_price(class_: str, known: list[str]) -> str:
    return f"class {class_!r}, which no action has a price for{did_you_mean(class_, known)}"


def _unknown(noun: str, name: str, known: list[str]) -> str:
    return f"no {noun} named {name!r}{did_you_mean(name, known) or f': known are {listing(known)}'}"
