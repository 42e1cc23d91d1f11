"""Loader: the operator's files and the environment made into one checked configuration, or a list of everything wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.call import Model
from proxy.config.addresses import store_below
from proxy.config.environment import Environment
from proxy.config.files import Files, packaged_policies, shown
from proxy.config.models import Offer, Offering
from proxy.config.policies import Chain, read_chain
from proxy.config.settings import Config
from proxy.config.tree import Node, Place, child, place_of, problem_at
from proxy.config.validation import validate
from proxy.errors import ConfigError, Problem
from proxy.route.catalog import Catalog

if TYPE_CHECKING:
    from proxy.policy import PolicyBase

CONFIG = "config.yaml"
POLICIES = "policies/default.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checked configuration.

    ``config`` has its defaults written out: the store's path is absolute, each upstream has its provider and via, a
    passthrough its base URL. ``files`` is the text of the policy files by their path in the policies' folder, ``stamps``
    what every file that was looked at contained (None: it was not there).
    """

    config: Config
    models: Mapping[str, Model]
    policies: tuple[PolicyBase, ...]
    policy_version: str
    price_version: str | None
    files: Mapping[str, str]
    stamps: Mapping[Path, str | None]
    hints: tuple[str, ...]

    @property
    def watched(self) -> tuple[Path, ...]:
        """The files whose change changes the configuration."""
        return tuple(self.stamps)


class NotLoaded(ConfigError):
    """The files cannot be used. ``stamps`` tells what was looked at, so that the repair can be noticed."""

    def __init__(self, problems: Sequence[Problem], stamps: Mapping[Path, str | None]) -> None:
        super().__init__(problems)
        self.stamps = stamps


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read and check everything. ``path`` is the config file; None: ./config.yaml if it exists, else all defaults.

    Raises NotLoaded (a ConfigError) with all problems of all files.
    """
    files = Files(Environment(environ), [])
    try:
        return _Loading(files, environ).load(path)
    except _Unusable:
        problems = [files.environment.hide(problem) for problem in _ordered(files)]
        raise NotLoaded(problems, files.stamps) from None


class _Unusable(Exception):
    """Problems were noted."""


@dataclass(frozen=True, slots=True)
class _Loading:
    """One load."""

    files: Files
    environ: Mapping[str, str]
    hints: list[str] = field(default_factory=list)

    def load(self, path: Path | None) -> Loaded:
        folder = (path or Path(CONFIG)).absolute().parent
        root = read_root(path, self.files)
        config = validate(Config, root, self.files.problems) if root else None
        chain = read_policies(root, folder, self.files)
        if chain and chain.packaged and self.files.stamps.get(folder / CONFIG):
            self.hints.append(f"no {POLICIES} beside {CONFIG}: using the policies that come with the package")
        # The catalog is large: it lives for this load only, and only if something asks for it.
        offer = self._offer(config, root, cache(Catalog.read)) if config and root else None
        if chain and offer and root:
            chain.check(offer.models, root, self.files.problems)
        if self.files.problems or config is None or chain is None or offer is None:
            raise _Unusable
        written_out = {"upstreams": dict(offer.upstreams), "store": store_below(config.store, folder)}
        return Loaded(
            config=config.model_copy(update=written_out),
            models=offer.models,
            policies=tuple(policy for policy in chain.policies if policy),
            policy_version=chain.version,
            price_version=chain.price_version,
            files=chain.texts,
            stamps=self.files.stamps,
            hints=(*chain.hints, *self.hints, *offer.hints),
        )

    def _offer(self, config: Config, root: Node, catalog: Callable[[], Catalog]) -> Offer:
        return Offering(config, root, self.environ, catalog, self.files.problems).offer()


def read_root(path: Path | None, files: Files) -> Node | None:
    """The config file's tree; an empty mapping where there is no such file and none was asked for; None: noted why."""
    empty = Node(Place(CONFIG, 1, 1), {})
    if path is None and not files.exists(Path(CONFIG).absolute()):
        return empty
    read = files.read((path or Path(CONFIG)).absolute())
    if read is None:
        return None
    _, root = read
    return replace(root, value={}) if root.value is None and not root.refused else root


def read_policies(root: Node | None, folder: Path, files: Files) -> Chain | None:
    """The chain that the config file names, or the default one: beside it, else the package's; None: noted why."""
    written = child(root, "policies") if root else None
    if written and (written.refused or not isinstance(written.value, str)):
        return None  # noted already
    name = str(written.value) if written else POLICIES
    path = folder / name
    if files.exists(path):
        return read_chain(path, files)
    if Path(name) == Path(POLICIES):
        found = read_chain(packaged_policies(), files)
        return found and replace(found, packaged=True)
    assert root
    message = "no such file: correct the path, which starts at this file's folder"
    files.problems.append(problem_at(place_of(root, ("policies",)), "policies", message))
    return None


def _ordered(files: Files) -> list[Problem]:
    """File by file in the order they were read, from top to bottom, each problem once."""
    problems = list(dict.fromkeys(files.problems))
    order = {shown(path): at for at, path in enumerate(files.stamps)}
    return sorted(problems, key=lambda problem: (order.get(problem.file, len(order)), problem.line, problem.column))
