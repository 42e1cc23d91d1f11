"""What every policy is: a frozen model whose fields are its YAML settings and whose call is its behaviour."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from proxy.call import Call, Handler, Model, Outcome
from proxy.config.settings import Settings

Spot = tuple[str | int, ...]
"""Where in a policy's YAML something stands: keys and indexes, from the policy down."""

Finding = tuple[Spot, str]
"""Something wrong in a policy's YAML: where, and what it is with what to do about it."""


class PolicyBase(Settings):
    """Base of the policies. It holds no state: what changes lives behind the ports of a call."""

    includes: ClassVar[frozenset[str]] = frozenset()
    """Fields that may be a path to a YAML file, whose content takes the path's place before validation."""

    kind: str

    def problems(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        """What does not fit the configured models, or itself; found at load, so that no call ever meets it."""
        yield from ()

    def misfits(self, models: Mapping[str, Model]) -> Iterator[Finding]:
        """What of the models does not fit these settings; found at load. A spot is one of config.yaml: models, name, key."""
        yield from ()

    @abstractmethod
    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome: ...
