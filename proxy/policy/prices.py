"""The price list: what an action costs on a model of each class, what an account starts with (energy.yaml)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate
from functools import cached_property
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from proxy.call import Model, Offer, Opening, Operation
from proxy.config.settings import Name, Settings
from proxy.errors import BadRequest
from proxy.policy.base import Finding
from proxy.policy.naming import listing
from proxy.policy.pricecheck import price_problems

POINTS_MAX = 1_000_000_000
EMBEDDING = "embedding"  # costs nothing until it is given prices

Points = Annotated[int, Field(strict=True, ge=0, le=POINTS_MAX)]
Cap = Annotated[int, Field(strict=True, ge=1)]


class Action(Settings):
    """One thing a call can be for: its price in points for each class of model, and its caps."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Points] = Field(init=False)  # every other key is a class, its value the points

    input_tokens_max: Cap | None = Field(None, description="Longest input, in estimated tokens. Default: no cap.")
    output_tokens_max: Cap | None = Field(
        None, description="Longest answer, in tokens of each choice; set on calls that set no limit. Default: no cap."
    )
    n_max: Cap = Field(1, description="Most choices (n) a call may ask for: each is a whole answer, for one price.")

    @property
    def points(self) -> Mapping[str, int]:
        """Class -> points."""
        return self.__pydantic_extra__


class Plan(Settings):
    """What an account on this plan is given."""

    grant: Points = Field(description="Points an account starts with.")


class PriceList(Settings):
    """energy.yaml: actions and their prices, the classes of models, what a class is downgraded to, the plans."""

    actions: dict[Name, Action] = Field(
        min_length=1, description="Action -> its price in points for every class ({premium: 10, economy: 3}), its caps."
    )
    default_action: Name = Field(description="Action of a chat call that names none.")
    embeddings_action: Name = Field(
        EMBEDDING,
        description="Action of an embeddings call that names none; chat calls may not name it. Default: embedding, "
        "which costs 0 unless it is listed under actions.",
    )
    classes: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="Class -> its models, by name or glob. A model's class: its own in config.yaml, else its name here, "
        "else the first glob in file order that fits, else default_class.",
    )
    default_class: Name = Field(description="Class of a model that is listed nowhere.")
    downgrade: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="Class -> cheaper models that may answer instead when the balance is low, best first. Models that "
        "are not configured, or lack what a request needs, are skipped.",
    )
    plans: dict[Name, Plan] = Field(min_length=1, description="Plans by name.")
    default_plan: Name = Field(description="Plan of an account that opens with its first call.")

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        """What does not fit together, with where it stands in energy.yaml."""
        return price_problems(self, models)

    def class_of(self, model: str, models: Mapping[str, Model]) -> str:
        """Its own class in config.yaml, else the one that lists its name, else the first glob, else the default."""
        known = models.get(model)
        if known is not None and known.class_ is not None:
            return known.class_
        if (listed := self._listed.get(model)) is not None:
            return listed
        return next((name for name, globs in self._globs if globs.match(model)), self.default_class)

    def actions_for(self, operation: Operation) -> tuple[str, ...]:
        """Actions a call may name. That of embeddings, free by default, is not for chat."""
        if operation is Operation.EMBEDDINGS:
            return tuple(dict.fromkeys((*self.actions, self.embeddings_action)))
        return tuple(name for name in self.actions if name != self.embeddings_action or name == self.default_action)

    def default_action_for(self, operation: Operation) -> str:
        return self.embeddings_action if operation is Operation.EMBEDDINGS else self.default_action

    def caps(self, action: str) -> Action:
        return self.actions.get(action, _NO_CAPS)

    def price(self, action: str, model: str, models: Mapping[str, Model]) -> int:
        """Points of one call for ``action`` answered by ``model``."""
        return self._points(action, self.class_of(model, models))

    def cheaper(self, model: str, *, action: str, models: Mapping[str, Model]) -> tuple[Offer, ...]:
        """What a call on ``model`` may be downgraded to: configured chat models that cost less, best first."""
        return self._cheaper(action, self.class_of(model, models), models)

    def opening(self, plan: str | None = None, points: int | None = None) -> Opening:
        """What an account is opened with: on its first call the default plan and its grant. Raises BadRequest."""
        name = self.default_plan if plan is None else plan
        if name not in self.plans:
            raise BadRequest(f"there is no plan {name!r}; there are {listing(self.plans)}", param="plan")
        return Opening(name, self.plans[name].grant if points is None else points)

    def shown(self, *, available: int, models: Mapping[str, Model]) -> dict[str, Any]:
        """What each action costs: ``points`` per class, and what a call on such a model would cost ``now`` (None: refused).

        ``now`` is lower than ``points`` where ``available`` points are only enough for a downgrade.
        """
        classes = tuple(dict.fromkeys((*self.classes, self.default_class)))
        actions = {
            name: {
                "points": {class_: self._points(name, class_) for class_ in classes},
                "now": {class_: self._now(name, class_, available=available, models=models) for class_ in classes},
            }
            for name in self.actions_for(Operation.EMBEDDINGS)
        }
        return {"default_action": self.default_action, "embeddings_action": self.embeddings_action, "actions": actions}

    def _now(self, action: str, class_: str, *, available: int, models: Mapping[str, Model]) -> int | None:
        offered = (self._points(action, class_), *(offer.points for offer in self._cheaper(action, class_, models)))
        return next((points for points in offered if points <= available), None)

    def _cheaper(self, action: str, class_: str, models: Mapping[str, Model]) -> tuple[Offer, ...]:
        asked = self._points(action, class_)
        names = (name for name in self.downgrade.get(class_, ()) if _chats(name, models))
        offers = (Offer(model=name, points=self.price(action, name, models)) for name in names)
        return tuple(offer for offer in offers if offer.points < asked)

    def _points(self, action: str, class_: str) -> int:
        priced = self.actions.get(action)
        if priced is None:
            assert action == self.embeddings_action, f"energy let the unknown action {action!r} pass"
            return 0
        return priced.points[class_]

    @cached_property
    def _listed(self) -> Mapping[str, str]:
        return {name: class_ for class_, names in self.classes.items() for name in names}

    @cached_property
    def _globs(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """One expression per class, in file order: a list of thirty globs costs a call little more than one."""
        return tuple(
            (class_, re.compile("|".join(translate(name) for name in names)))
            for class_, names in self.classes.items()
            if names
        )


_NO_CAPS = Action()


def _chats(name: str, models: Mapping[str, Model]) -> bool:
    model = models.get(name)
    return model is not None and model.operation is Operation.CHAT
