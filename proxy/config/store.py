"""Store: what commands on the ledger need of a configuration, of which other parts may not load where they are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from proxy import policy as chainable
from proxy.config.addresses import store_below, store_path
from proxy.config.environment import Environment
from proxy.config.files import Files
from proxy.config.loader import CONFIG, NotLoaded, read_policies, read_root
from proxy.config.settings import Config
from proxy.config.tree import Node
from proxy.config.validation import validate

if TYPE_CHECKING:
    from proxy.policy.prices import PriceList

READ = ("store", "durability")
"""What of config.yaml is looked at; of everything else only that it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the ledger is, as an absolute path, and how it is written."""

    database: Path
    durability: Literal["strict", "relaxed"]


def read_store(path: Path | None, environ: Mapping[str, str]) -> Stored:
    """Where the configuration's ledger is, whatever is wrong elsewhere: a provider's key need not be set for it.

    Unknown keys are refused all the same: a misspelt ``store`` would be another ledger. Raises NotLoaded.
    """
    files = Files(Environment(environ), [])
    root = read_root(path, files)
    files.problems[:] = [problem for problem in files.problems if problem.path in ("", *READ)]
    config = validate(Config, _of_the_store(root), files.problems) if root else None
    if files.problems or config is None:
        raise _not_loaded(files)
    folder = (path or Path(CONFIG)).absolute().parent
    return Stored(database=store_path(store_below(config.store, folder)), durability=config.durability)


def read_prices(path: Path | None, environ: Mapping[str, str]) -> PriceList | None:
    """The price list of the configuration's chain; None: it prices nothing. Raises NotLoaded where the chain cannot be read."""
    files = Files(Environment(environ), [])
    root = read_root(path, files)
    files.problems[:] = [problem for problem in files.problems if problem.path in ("", "policies")]
    chain = read_policies(root, (path or Path(CONFIG)).absolute().parent, files) if root else None
    if files.problems or chain is None:
        raise _not_loaded(files)
    return chainable.energy_prices([policy for policy in chain.policies if policy])


def _of_the_store(root: Node) -> Node:
    if not isinstance(root.value, Mapping):
        return root
    return replace(
        root, value={key: node for key, node in root.value.items() if key in READ or key not in Config.model_fields}
    )


def _not_loaded(files: Files) -> NotLoaded:
    return NotLoaded([files.environment.hide(problem) for problem in files.problems], files.stamps)
