"""The table: model name -> deployments, and which of them to ask next. One per configuration; health and budget outlive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.call import CANCELLED, Attempt, Deployment, Model, Needs
from proxy.route.budget import RepeatBudget
from proxy.route.health import Health


class Table:
    """Implements ``call.Routes``."""

    def __init__(self, models: Mapping[str, Model], health: Health, budget: RepeatBudget) -> None:
        self._models = models
        self._health = health
        self._budget = budget

    @property
    def models(self) -> Mapping[str, Model]:
        return self._models

    def fits(self, model: str, needs: Needs) -> bool:
        """False when the model is not there, is known to lack what is needed, or the input is too long for it."""
        known = self._models.get(model)
        if known is None:
            return False
        if known.input_tokens_max is not None and needs.input_tokens > known.input_tokens_max:
            return False
        return not any(getattr(needs, ability) for ability in known.lacks)

    def untried(self, model: str, attempts: Sequence[Attempt]) -> tuple[Deployment, ...]:
        """Healthy deployments that no attempt went to, in the operator's order."""
        tried = {attempt.deployment.id for attempt in attempts}
        healthy = self._health.healthy
        return tuple(place for place in self._models[model].deployments if place.id not in tried and healthy(place))

    def report(self, attempt: Attempt) -> None:
        """Health learns from each attempt; one that has ended pays into the budget of repeats.

        One that was cut by us pays nothing: if the upstream's silence was why, it is reported once more, as what it was.
        """
        self._health.record(attempt)
        if attempt.ended_at is not None and attempt.error != CANCELLED:
            self._budget.called()

    def may_repeat(self) -> bool:
        return self._budget.take()
