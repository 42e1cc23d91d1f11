"""The price list: what an action costs on a model of each class, what an account starts with (energy.yaml)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate
from functools import cached_property
from typing import Annotated

from pydantic import ConfigDict, Field

from proxy.call import Model, Opening, Operation
from proxy.config.settings import Name, Settings
from proxy.policy.base import Finding

POINTS_MAX = 1_000_000_000

Points = Annotated[int, Field(strict=True, ge=0, le=POINTS_MAX)]
Cap = Annotated[int, Field(strict=True, ge=1)]


class Action(Settings):
    """One thing a call can be for: its price in points for each class of model, and its caps."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Points] = Field(init=False)  # every other key is a class, its value the points

    input_tokens_max: Cap | None = Field(
        None, description="Longest input, in estimated tokens. Default: the model's own."
    )
    output_tokens_max: Cap | None = Field(
        None, description="Longest answer, in tokens per choice. Default: the model's own."
    )
    n_max: Cap = Field(1, description="Most choices (n) a call may ask for: each is a full answer for one price.")

    @property
    def points(self) -> Mapping[str, int]:
        """Class -> points."""
        return self.__pydantic_extra__


class Plan(Settings):
    """What an account on this plan is given."""

    grant: Points = Field(description="Points an account starts with.")


FREE = Action()


class PriceList(Settings):
    """energy.yaml: actions and their prices, the classes of models, what a class is downgraded to, the plans."""

    actions: dict[Name, Action] = Field(min_length=1, description="Price of each action, in points per class.")
    default_action: Name = Field(description="Action of a chat call that names none.")
    embeddings_action: Name = Field("embedding", description="Action of an embeddings call that names none.")
    classes: dict[Name, tuple[Name, ...]] = Field(default_factory=dict, description="Class -> its models.")
    default_class: Name = Field(description="Class of a model that is listed nowhere.")
    downgrade: dict[Name, tuple[Name, ...]] = Field(default_factory=dict, description="Class -> cheaper models.")
    plans: dict[Name, Plan] = Field(min_length=1, description="Plans by name.")
    default_plan: Name = Field(description="Plan of an account that opens with its first call.")

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        """What does not fit together, with where it stands in energy.yaml."""
        yield from ()

    def class_of(self, model: str, models: Mapping[str, Model]) -> str:
        """Its own ``class`` in config.yaml, else listed by name, else the first glob in file order, else the default."""
        known = models.get(model)
        if known is not None and known.class_ is not None:
            return known.class_
        if (listed := self._listed.get(model)) is not None:
            return listed
        return next((name for name, globs in self._globs if globs.match(model)), self.default_class)

    def price(self, action: str, model: str, models: Mapping[str, Model]) -> int:
        """Points of one call for ``action`` answered by ``model``."""
        if action not in self.actions:
            return 0
        return self.actions[action].points[self.class_of(model, models)]

    def default_action_for(self, operation: Operation) -> str:
        return self.embeddings_action if operation is Operation.EMBEDDINGS else self.default_action

    def plan(self, name: str) -> Plan:
        return self.plans[name]

    def opening(self) -> Opening:
        """What an account is opened with on its first call."""
        return Opening(self.default_plan, self.plans[self.default_plan].grant)

    @cached_property
    def _listed(self) -> Mapping[str, str]:
        return {name: class_ for class_, names in reversed(self.classes.items()) for name in names}

    @cached_property
    def _globs(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """One expression per class, in file order: a list of thirty globs costs a call as much as one."""
        return tuple(
            (class_, re.compile("|".join(translate(name) for name in names)))
            for class_, names in self.classes.items()
            if names
        )
