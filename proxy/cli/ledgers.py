"""Where commands find the ledger: the configuration's database, opened here or through the proxy that holds it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from proxy.call import Opening
from proxy.config import Loaded, load, store_path
from proxy.errors import BadRequest, JournalUnavailable
from proxy.journal.admin import Admin, DirectAdmin
from proxy.journal.control import HOLDER_WAIT_S, admin_for
from proxy.journal.reader import SqliteReader
from proxy.journal.sqlite import open_sqlite, read_only
from proxy.keys import DEFAULT_NAMESPACE, Keyring, load_pepper
from proxy.policy import energy_prices

_Answer = TypeVar("_Answer")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="Default: ./config.yaml when it exists, else the built-in defaults."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="The application whose users are meant.")]
NAMESPACE = DEFAULT_NAMESPACE


def loaded(config: Path | None) -> Loaded:
    """The configuration a command works on. Raises ConfigError."""
    return load(config, os.environ)


def with_admin(config: Path | None, work: Callable[[Admin], Awaitable[_Answer]]) -> _Answer:
    """Do ``work`` on the ledger, through the running proxy where one holds it."""
    found = loaded(config)

    async def run() -> _Answer:
        async with admin_for(store_path(found.config.store), lambda: _direct(found), wait_s=HOLDER_WAIT_S) as admin:
            return await work(admin)

    return asyncio.run(run())


def with_reader(config: Path | None, work: Callable[[SqliteReader], Awaitable[_Answer]]) -> _Answer:
    """Do ``work`` on a read-only view of the ledger, whether a proxy runs or not."""
    database = store_path(loaded(config).config.store)
    if not database.exists():
        raise JournalUnavailable(f"there is no ledger at {database} yet; `orch serve` or `orch users create` makes it")

    async def run() -> _Answer:
        async with read_only(database) as reader:
            return await work(reader)

    return asyncio.run(run())


def opening(found: Loaded, plan: str | None, energy: int | None) -> Opening:
    """What a new account starts with: the plan's grant unless ``energy`` says otherwise. Raises BadRequest for an unknown plan."""
    prices = energy_prices(found.policies)
    if prices is None:
        return Opening(plan or "free", energy or 0)
    name = plan or prices.default_plan
    if name not in prices.plans:
        raise BadRequest(f"there is no plan {name!r}; there are {', '.join(sorted(prices.plans))}", param="plan")
    return Opening(name, prices.plans[name].grant if energy is None else energy)


@asynccontextmanager
async def _direct(found: Loaded) -> AsyncIterator[Admin]:
    database = store_path(found.config.store)
    pepper = load_pepper(database.parent, os.environ)
    store = await open_sqlite(database, durability=found.config.durability, owner=f"orch-{os.getpid()}")
    try:
        yield DirectAdmin(store, Keyring(store, pepper))
    finally:
        await store.aclose()
