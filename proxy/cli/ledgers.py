"""Where commands find the ledger: the configuration's database, opened here or through the proxy that holds it.

Only ``store`` and ``durability`` of the configuration are read for it, so that users and keys can be looked after from a
shell that lacks the providers' keys.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from proxy.call import Opening
from proxy.config import Loaded, load
from proxy.config.store import Stored, read_prices, read_store
from proxy.errors import JournalUnavailable
from proxy.journal.admin import Admin, DirectAdmin
from proxy.journal.control import HOLDER_WAIT_S, admin_for
from proxy.journal.reader import SqliteReader
from proxy.journal.sqlite import open_sqlite, read_only
from proxy.keys import DEFAULT_NAMESPACE, Keyring, load_pepper

_Answer = TypeVar("_Answer")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="Default: ./config.yaml when it exists, else the built-in defaults."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="The application whose users are meant.")]
NAMESPACE = DEFAULT_NAMESPACE


def loaded(config: Path | None) -> Loaded:
    """The whole configuration. Raises ConfigError."""
    return load(config, os.environ)


def stored(config: Path | None) -> Stored:
    """The configuration's store, whatever is wrong with the rest of it. Raises ConfigError."""
    return read_store(config, os.environ)


def with_admin(config: Path | None, work: Callable[[Admin], Awaitable[_Answer]]) -> _Answer:
    """Do ``work`` on the ledger, through the running proxy where one holds it."""
    found = stored(config)

    async def run() -> _Answer:
        async with admin_for(found.database, lambda: _direct(found), wait_s=HOLDER_WAIT_S) as admin:
            return await work(admin)

    with naming(found.database):
        return asyncio.run(run())


def with_reader(config: Path | None, work: Callable[[SqliteReader], Awaitable[_Answer]]) -> _Answer:
    """Do ``work`` on a read-only view of the ledger, whether a proxy runs or not."""
    database = existing(stored(config).database)

    async def run() -> _Answer:
        async with read_only(database) as reader:
            return await work(reader)

    with naming(database):
        return asyncio.run(run())


def existing(database: Path) -> Path:
    """The same path. Raises JournalUnavailable where there is nothing that could be read."""
    blocking = next((above for above in database.parents if above.is_file()), None)
    if blocking is not None:
        raise JournalUnavailable(
            f"{blocking} is a file where the store needs a directory; mend `store:` in config.yaml"
        )
    with naming(database):
        found = database.exists()
    if not found:
        raise JournalUnavailable(f"there is no ledger at {database} yet; `orch serve` or `orch users create` makes it")
    return database


def opening(config: Path | None, plan: str | None, energy: int | None) -> Opening:
    """What a new account starts with: the plan's grant unless ``energy`` says otherwise. Raises BadRequest for an unknown plan."""
    prices = read_prices(config, os.environ)
    if prices is None:
        return Opening(plan or "free", energy or 0)
    return prices.opening(plan, energy)


@contextmanager
def naming(database: Path) -> Iterator[None]:
    """What the store says of itself, with which store says it; and what the system says of its files is the store's too."""
    try:
        yield
    except JournalUnavailable as error:
        if str(database) in error.message:
            raise
        raise JournalUnavailable(f"{database}: {error.message}", reason=error.reason) from error
    except PermissionError as error:
        where = error.filename or database
        raise JournalUnavailable(f"{where}: permission denied; run it as the user who owns the store") from error


@asynccontextmanager
async def _direct(found: Stored) -> AsyncIterator[Admin]:
    pepper = load_pepper(found.database.parent, os.environ)
    store = await open_sqlite(found.database, durability=found.durability, owner=f"orch-{os.getpid()}")
    try:
        yield DirectAdmin(store, Keyring(store, pepper))
    finally:
        await store.aclose()
