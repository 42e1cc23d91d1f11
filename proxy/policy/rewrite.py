"""Rewrite: names that stand for models, so that applications ask for ``smart`` and operators say what that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal

from pydantic import Field

from proxy.call import Call, Handler, Model, Outcome
from proxy.config.settings import Name
from proxy.policy.base import Finding, PolicyBase
from proxy.policy.naming import did_you_mean


class Rewrite(PolicyBase):
    """Asks the model behind an alias; what the client asked for stays in ``requested_model``."""

    kind: Literal["rewrite"]
    alias: dict[Name, Name] = Field(
        default_factory=dict,
        description="Alias -> model. An alias may point to another alias; an existing model's name may be used as one.",
    )

    @cached_property
    def targets(self) -> Mapping[str, str]:
        """Alias -> the model at the end of its chain; those that lead back to themselves are left out."""
        ends = {name: self._follow(name)[-1] for name in self.alias}
        return {name: end for name, end in ends.items() if end not in self.alias}

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        known = [*models, *self.alias]
        for name, target in self.alias.items():
            steps = self._follow(name)
            if steps[-1] == name:
                yield ("alias", name), f"leads back to itself ({' -> '.join(steps)}): point one of them to a model"
            elif target not in self.alias and target not in models:
                yield ("alias", name), f"no model named {target!r}{did_you_mean(target, known)}"

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome:
        target = self.targets.get(call.model)
        return await call_next(call if target is None else call.on(target))

    def _follow(self, name: str) -> list[str]:
        """``name`` and where it leads, up to a model's name or the first name met twice."""
        steps = [name]
        while steps[-1] in self.alias:
            following = self.alias[steps[-1]]
            steps.append(following)
            if following in steps[:-1]:
                break
        return steps
