"""The composition root: configuration -> adapters -> ports -> chain -> the ASGI application. Only this file imports adapters.

``opened`` reads from top to bottom as the proxy starts, and from bottom to top as it stops: running calls close their books,
files are no longer watched, the control socket and the upstreams close, the store commits what is queued, the lock is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from proxy.call import Operation, Ports
from proxy.chain import chain
from proxy.config import Loaded, store_path
from proxy.config.durations import duration_ms
from proxy.config.settings import Config, Limits, Records, UpstreamSettings
from proxy.config.watch import Asked, watch
from proxy.edge.access import Door, served_at
from proxy.edge.admin.desk import Desk
from proxy.edge.asgi import application
from proxy.edge.gateway import Gateway, Serving
from proxy.edge.live import InUse, Live, Version
from proxy.edge.receive import BodyBudget
from proxy.edge.routes import routes
from proxy.journal.admin import DirectAdmin
from proxy.journal.control import serving
from proxy.journal.flood import TurnedAway
from proxy.journal.hold import Journal
from proxy.journal.kept import listening
from proxy.journal.lock import locked, socket_path
from proxy.journal.masks import masks
from proxy.journal.operations import Reload, Reloaded
from proxy.journal.port import Store
from proxy.journal.retention import Keep, Retention, Rules
from proxy.journal.sqlite import SqliteStore, open_sqlite
from proxy.journal.upkeep import kept_up
from proxy.keys import Keyring, load_pepper
from proxy.policy import energy_prices, with_recording
from proxy.route.budget import RepeatBudget
from proxy.route.health import Health
from proxy.route.table import Table
from proxy.tasks import beside
from proxy.telemetry.audit import audit
from proxy.telemetry.call_log import CallLog
from proxy.telemetry.exporting import Tracing, exporting
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.observers import Observers
from proxy.telemetry.state import Watched
from proxy.upstream import open_upstream
from proxy.upstream.port import Upstream
from proxy.upstream.terminal import Terminal, no_headers

log = logging.getLogger("proxy")

OpenUpstream = Callable[[str, UpstreamSettings, Limits], Awaitable[Upstream]]
Load = Callable[[], Loaded]
"""Reads the configuration anew. Raises ConfigError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A proxy ready to serve: its ASGI application, and what a server needs beside it.

    ``admin`` is for the listener of its own that ``/admin`` and ``/metrics`` may have.
    """

    asgi: ASGIApp
    admin: ASGIApp | None
    gateway: Gateway
    store: Store
    keyring: Keyring


@asynccontextmanager
async def opened(
    loaded: Loaded, *, load: Load, environ: Mapping[str, str], reload_asked: Asked
) -> AsyncIterator[Running]:
    """Open everything the configuration names, in order. Raises OrchError where something cannot be opened."""
    database = store_path(loaded.config.store)
    owner = f"proxy-{uuid.uuid4().hex[:12]}"
    async with contextlib.AsyncExitStack() as stack:
        # First, so it ends last: a collector that does not answer must not keep the ledger from the next process.
        tracing = await stack.enter_async_context(exporting(loaded.config.telemetry, environ))
        socket = socket_path(database)
        stack.enter_context(locked(database, socket=socket, owner=owner))
        metrics = Metrics()
        store = await open_sqlite(database, durability=loaded.config.durability, owner=owner, meter=metrics.journal)
        stack.push_async_callback(store.aclose)
        keyring = Keyring(store, load_pepper(database.parent, environ), environ.get("ORCH_ADMIN_KEY"))
        clients = Upstreams()
        stack.push_async_callback(clients.aclose)
        assembly = Assembly(store, clients, metrics, tracing, close_wait_s=loaded.config.limits.close_wait_s)
        live = Live(await assembly.version(loaded))
        metrics.config.went_live(loaded.policy_version, loaded.price_version)
        gateway = assembly.gateway(live, keyring, loaded.config)
        await stack.enter_async_context(kept_up(store, assembly.journal.refusals, assembly.retention))
        operator = DirectAdmin(store, keyring, database=database, reload=_reload(live, reload_asked))
        await stack.enter_async_context(serving(operator, socket))
        await stack.enter_async_context(_audited(store, metrics, loaded.config.metrics.verify_s))
        await stack.enter_async_context(_reloading(loaded, load, live, assembly, reload_asked))
        desk = Desk(gateway=gateway, admin=operator, books=store)
        asgi, admin = _applications(gateway, desk, loaded.config)
        yield Running(asgi=asgi, admin=admin, gateway=gateway, store=store, keyring=keyring)
        await _drain(gateway)


def _applications(gateway: Gateway, desk: Desk, config: Config) -> tuple[ASGIApp, ASGIApp | None]:
    """What the listener of calls serves, and what the listener of operators does, where it is another."""

    def behind(door: Door | None) -> ASGIApp:
        return application(routes(gateway, desk, served_at(door)), gateway)

    return (behind(None), None) if config.admin.listen is None else (behind(Door.MAIN), behind(Door.ADMIN))


class Assembly:
    """Makes versions of loaded configurations. What must outlive a reload is made once: health, the budget, the journal."""

    def __init__(
        self, store: SqliteStore, clients: Upstreams, metrics: Metrics, tracing: Tracing | None, *, close_wait_s: float
    ) -> None:
        self.retention = Retention()
        self.journal = Journal(store, close_wait_s=close_wait_s, retention=self.retention)
        self.clients = clients
        self.metrics = metrics
        self._store = store
        self._tracing = tracing
        self._health = Health()
        self._budget = RepeatBudget()

    async def version(self, loaded: Loaded) -> Version:
        """Ready to serve: its upstreams are open, and the journal knows the policies it names."""
        await self._store.keep_policy_version(loaded.policy_version, loaded.files)
        upstreams = await self.clients.open(loaded.config)
        ports = Ports(
            journal=self.journal,
            routes=Table(loaded.models, self._health, self._budget),
            sleep=asyncio.sleep,
            random=random.random,
            policy_version=loaded.policy_version,
            price_version=loaded.price_version,
        )
        prices = energy_prices(loaded.policies)
        actions = {action for asked in Operation for action in prices.actions_for(asked)} if prices else set()
        self.metrics.calls.know(models=loaded.models, actions=actions)
        headers = self._tracing.headers if self._tracing else no_headers
        handler = chain(with_recording(loaded.policies), Terminal(upstreams, loaded.config.limits, headers))
        self.retention.rules = _rules(loaded.config.records)
        return Version(
            handler=listening(handler, self.retention),
            ports=ports,
            limits=loaded.config.limits,
            prices=prices,
        )

    def gateway(self, live: Live, keys: Keyring, config: Config) -> Gateway:
        """What the edge serves with; of ``config`` only what needs a restart."""
        serving = Serving()
        tracing = [self._tracing] if self._tracing else []
        watched = Watched(
            books=self._store,
            database=store_path(config.store),
            running=lambda: serving.running,
            breaker=self._health.state,
            deployments=self.metrics.calls.deployments,
        )
        return Gateway(
            live=live,
            keys=keys,
            journal=self.journal,
            records=self._store,
            bodies=BodyBudget(config.limits.bodies_bytes_max),
            serving=serving,
            ready=self._store.healthy,
            observer=Observers([self.metrics.calls, CallLog(), TurnedAway(self.journal.refusals), *tracing]),
            metrics=self.metrics.exposition(watched),
            metrics_public=config.metrics.public,
        )


def _rules(records: Records) -> Rules:
    return Rules(
        keep_ms=None if records.keep is None else duration_ms(records.keep),
        bodies=Keep(records.bodies),
        masks=masks(records.redact),
        refusals_per_minute=records.refusals_per_minute,
    )


class Upstreams:
    """The clients of the upstreams. One whose settings a reload left as they were is kept, with its connections."""

    def __init__(self, opening: OpenUpstream = open_upstream) -> None:
        self._opening = opening
        self._open: dict[str, tuple[UpstreamSettings, Limits, Upstream]] = {}
        self._retired: list[Upstream] = []

    async def open(self, config: Config) -> Mapping[str, Upstream]:
        """The clients by name, opened where they are new or changed; those no longer named are retired.

        Raises OrchError where one cannot be opened; the clients are what they were then.
        """
        fresh: dict[str, tuple[UpstreamSettings, Limits, Upstream]] = {}
        async with contextlib.AsyncExitStack() as undo:  # where one cannot be opened, those opened before it are closed
            for name, settings in config.upstreams.items():
                known = self._open.get(name)
                if known is None or known[:2] != (settings, config.limits):
                    client = await self._opening(name, settings, config.limits)
                    undo.push_async_callback(client.aclose)
                    known = (settings, config.limits, client)
                fresh[name] = known
            undo.pop_all()
        kept = {id(client) for _, _, client in fresh.values()}
        self._retired += [client for _, _, client in self._open.values() if id(client) not in kept]
        self._open = fresh
        return {name: client for name, (_, _, client) in fresh.items()}

    @property
    def retired(self) -> tuple[Upstream, ...]:
        """The clients that only calls on older versions still use."""
        return tuple(self._retired)

    async def close(self, retired: Iterable[Upstream]) -> None:
        for client in retired:
            if client in self._retired:
                self._retired.remove(client)
                await _let_go(client)

    async def aclose(self) -> None:
        await self.close(self.retired)
        for _, _, client in self._open.values():
            await _let_go(client)


async def _let_go(client: Upstream) -> None:
    """A client that cannot be closed is no reason to stop serving, nor to leave the next one open."""
    try:
        await client.aclose()
    except Exception:
        log.exception("an upstream's client could not be closed")


@asynccontextmanager
async def _reloading(
    loaded: Loaded, load: Load, live: Live, assembly: Assembly, reload_asked: Asked
) -> AsyncIterator[None]:
    """Watch the operator's files for as long as the proxy runs; what is valid goes live, what is not changes nothing."""
    async with beside() as tasks:
        older: list[InUse] = []

        async def apply(fresh: Loaded) -> None:
            version = await assembly.version(fresh)
            older[:] = [before for before in older if not before.idle.is_set()]
            older.append(live.swap(version))
            assembly.metrics.config.went_live(fresh.policy_version, fresh.price_version)
            log.info("policy %s is live", fresh.policy_version)
            tasks.start(_retire(tuple(older), assembly.clients, assembly.clients.retired))

        reloaded = assembly.metrics.config.reloaded
        tasks.start(watch(loaded, load=load, apply=apply, asked=reload_asked, on_result=reloaded))
        yield


def _reload(live: Live, asked: Asked) -> Reload:
    """What an operator does who does not wait for the files to be looked at."""

    async def reload() -> Reloaded:
        told = await asked.told()
        policy_version = live.version.ports.policy_version
        return Reloaded(policy_version=policy_version, problems=told.problems, notes=told.notes)

    return reload


@asynccontextmanager
async def _audited(store: Store, metrics: Metrics, every_s: float | None) -> AsyncIterator[None]:
    """Check the books now and then for as long as the proxy runs."""
    async with beside() as tasks:
        if every_s is not None:
            tasks.start(audit(store.verify, metrics.audit.checked, every_s=every_s))
        yield


async def _retire(older: Sequence[InUse], clients: Upstreams, retired: Sequence[Upstream]) -> None:
    """Close the clients that only these versions use, once no call is on any of them.

    Not whatever is retired by then: a later reload retires clients that the version in between still uses.
    """
    for version in older:
        await version.idle.wait()
    await clients.close(retired)


async def _drain(gateway: Gateway) -> None:
    """Calls that the server cancelled still close their books; wait for them, but not for ever."""
    try:
        async with asyncio.timeout(gateway.live.version.limits.close_wait_s):
            await gateway.serving.idle.wait()
    except TimeoutError:
        log.warning("%d calls had not ended at shutdown; the next start closes them", gateway.serving.running)
