"""Fallback: which other models may answer when the asked one cannot. It hands them over; retry walks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from proxy.call import Call, Handler, Model, Operation, Outcome
from proxy.config.settings import Name
from proxy.dialect.needs import needs
from proxy.policy.base import Finding, PolicyBase, Spot
from proxy.policy.naming import did_you_mean
from proxy.policy.rights import may_use

Others = Annotated[tuple[Name, ...], Field(max_length=7)]  # with the asked one no more than the calls that retry makes


class Fallback(PolicyBase):
    """Puts other models behind the asked one. A list is not followed further, so two models may stand in for each other."""

    kind: Literal["fallback"]
    to: dict[Name, Others] = Field(
        default_factory=dict,
        description="Model -> the models to ask when it cannot answer, best first. Those that lack what a request needs, "
        "or that the key may not use, are skipped.",
    )
    default: Others = Field((), description="The models to ask for any model without a list of its own.")

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        for name, others in self.to.items():
            if name not in models:
                yield ("to", name), f"no model named {name!r}{did_you_mean(name, models)}"
            if name in others:
                yield ("to", name, others.index(name)), f"{name!r} cannot stand in for itself: take it off its list"
            yield from _list_problems(("to", name), others, models)
        yield from _list_problems(("default",), self.default, models)

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        # Vectors of another model would poison the caller's index.
        others = () if call.operation is Operation.EMBEDDINGS else self._others(call)
        return await call_next(replace(call, candidates=(call.model, *others)))

    def _others(self, call: Call) -> tuple[str, ...]:
        listed = self.to.get(call.model, self.default)
        usable = [name for name in listed if name != call.model and may_use(call.principal, name)]
        if not usable:
            return ()
        asks = needs(call.body, call.operation)
        return tuple(name for name in usable if call.ports.routes.fits(name, asks))


def _list_problems(spot: Spot, others: Sequence[str], models: Mapping[str, Model]) -> Iterator[Finding]:
    for index, name in enumerate(others):
        model = models.get(name)
        if model is None:
            yield (*spot, index), f"no model named {name!r}{did_you_mean(name, models)}"
        elif model.operation is not Operation.CHAT:
            yield (*spot, index), f"{name!r} does not answer chat calls; embeddings never change model"
        elif name in others[:index]:
            yield (*spot, index), f"{name!r} is on this list already"
