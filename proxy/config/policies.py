"""Policies: the file with the chain and the files it includes, validated and checked against the models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from proxy import policy as chainable  # by its module: the policies' own base imports from this package
from proxy.call import Model
from proxy.config.files import Files
from proxy.config.tree import Location, Node, child, find, path_text, place_of, plain, problem_at
from proxy.config.validation import validate
from proxy.errors import Problem
from proxy.policy.naming import did_you_mean, listing

if TYPE_CHECKING:
    from proxy.policy import PolicyBase

VERSION_CHARS = 12
PRICES = "prices"  # the field of a policy that holds a price list
FREE_HINT = "calls are free: no energy policy in the chain; `- {kind: energy, prices: energy.yaml}` charges for them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What the policies file says. ``policies`` has None where an element is wrong; ``texts`` is by path in its folder."""

    root: Node
    policies: tuple[PolicyBase | None, ...]
    version: str
    price_version: str | None
    texts: Mapping[str, str]
    packaged: bool = False  # it is the one that comes with the package

    @property
    def hints(self) -> tuple[str, ...]:
        whole = [policy for policy in self.policies if policy]
        return () if chainable.energy_prices(whole) else (FREE_HINT,)

    def check(self, models: Mapping[str, Model], config: Node, problems: list[Problem]) -> None:
        """Note what does not fit the models, there or in ``config`` (the tree of config.yaml), and orders that cannot work."""
        for at, policy in enumerate(self.policies):
            for location, message in policy.problems(models) if policy else ():
                problems.append(self._problem(at, location, message))
            for location, message in policy.misfits(models) if policy else ():
                problems.append(problem_at(place_of(config, location), path_text(location), message))
        whole = [policy for policy in self.policies if policy]
        if len(whole) == len(self.policies):
            problems += [self._problem(at, (), message) for at, message in chainable.order_problems(whole, models)]

    def _problem(self, at: int, location: Location, message: str) -> Problem:
        kind = find(self.root, (at, "kind")).value
        named: Location = (at, kind) if isinstance(kind, str) else ()  # an empty chain has no policy to point at
        return problem_at(place_of(self.root, (at, *location)), path_text(("policies", *named, *location)), message)


def read_chain(path: Path, files: Files) -> Chain | None:
    """The chain in the file at ``path``; None where the file has none. Every problem is noted in ``files``."""
    read = files.read(path)
    if read is None:
        return None
    text, root = read
    if not isinstance(root.value, tuple):
        message = "must be a list of policies, outermost first, each written - {kind: …}"
        files.problems.append(problem_at(root.place, "policies", message))
        return None
    reading = _Reading(path.parent, files, {path.name: text})
    pairs = [reading.policy(at, node) for at, node in enumerate(root.value)]
    nodes = tuple(node for _, node in pairs)
    prices = [child(node, PRICES) for node in nodes]
    return Chain(
        policies=tuple(policy for policy, _ in pairs),
        root=replace(root, value=nodes),
        version=_version(nodes),
        price_version=_version([node for node in prices if node]) if any(prices) else None,
        texts=reading.texts,
    )


def kinds() -> Mapping[str, type[PolicyBase]]:
    """The policies by their ``kind``."""
    members = get_args(get_args(chainable.AnyPolicy)[0])
    return {str(kind): member for member in members for kind in get_args(member.model_fields["kind"].annotation)}


@dataclass(frozen=True, slots=True)
class _Reading:
    """One policies file on its way to policies."""

    folder: Path
    files: Files
    texts: dict[str, str]

    def policy(self, at: int, node: Node) -> tuple[PolicyBase | None, Node]:
        shape = self._shape(at, node)
        if shape is None:
            return None, node
        node = self._with_includes(at, node, shape)
        kind = str(plain(node)["kind"])
        return validate(shape, node, self.files.problems, prefix=("policies", at, kind)), node

    def _shape(self, at: int, node: Node) -> type[PolicyBase] | None:
        known = kinds()
        if node.refused:
            return None
        if not isinstance(node.value, Mapping):
            self._note(at, node, (), "must be a mapping with a kind, written {kind: retry, …}")
            return None
        kind = child(node, "kind")
        if kind is None:
            self._note(at, node, (), f"has no kind: add one of {listing(known)}")
            return None
        name = str(plain(kind))
        if name not in known and not kind.refused:
            hint = did_you_mean(name, known) or f": use one of {listing(known)}"
            self._note(at, node, ("kind",), f"no policy of this kind{hint}")
        return known.get(name)

    def _with_includes(self, at: int, node: Node, shape: type[PolicyBase]) -> Node:
        """The policy with the content of its files where their paths stood."""
        assert isinstance(node.value, Mapping)
        included = {
            name: self._included(at, node, name, below)
            for name, below in node.value.items()
            if name in shape.includes and isinstance(below.value, str)
        }
        return replace(node, value={**node.value, **included})

    def _included(self, at: int, node: Node, name: str, below: Node) -> Node:
        nowhere = replace(below, value=None, refused=True)
        path = self.folder / str(below.value)
        if not self.files.exists(path):
            self._note(at, node, (name,), f"no file {str(below.value)!r} beside the policies: correct the path")
            return nowhere
        read = self.files.read(path)
        if read is None:
            return nowhere
        self.texts[str(below.value)], root = read
        return root

    def _note(self, at: int, node: Node, location: Location, message: str) -> None:
        self.files.problems.append(
            problem_at(place_of(node, location), path_text(("policies", at, *location)), message)
        )


def _version(nodes: Sequence[Node]) -> str:
    """The same for the same content; comments and spacing do not count, the order of keys does (globs go by it)."""
    content: Any = [plain(node) for node in nodes]
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:VERSION_CHARS]
