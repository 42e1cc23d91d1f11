"""The server process: claim the port, open the proxy, serve until a signal, then drain and let go in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from proxy import __version__
from proxy.app import Load, Running, opened
from proxy.config import Loaded, is_loopback, load, parse_listen
from proxy.config.settings import Config
from proxy.config.watch import Asked
from proxy.edge.protocol import TURNED_AWAY_MAX, receiver
from proxy.errors import OrchError
from proxy.listeners import listener
from proxy.tasks import beside
from proxy.telemetry.logs import Logs, tell_of_loop_errors

log = logging.getLogger("proxy")

LISTEN = "server.listen (or --listen)"
ADMIN_LISTEN = "admin.listen"
BACKLOG = 2048
GC_THRESHOLDS = (
    20_000,
    20,
    50,
)  # a call leaves no cycles behind: looking less often costs some MB and saves a tenth of its CPU

OPERATOR_DRAIN_S = 1
"""How long the operators' listener waits for what it still serves once calls have drained, in seconds."""

FILES_BESIDE_MAX = 256
"""Files the process has open beside connections of clients and upstreams: the store, logs, watched folders."""


class StartError(OrchError):
    """The server cannot start here: the port is taken, or the address would be open to the world."""

    reason = "cannot_start"


class Crashed(OrchError):
    """A bug of ours ended the process."""

    reason = "internal_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What is said once it is true. ``url`` is the base URL for calls, ``operators`` where else /admin and /metrics are."""

    url: str
    operators: tuple[str, ...]
    models: int
    policy_version: str
    hints: tuple[str, ...]


Announce = Callable[[Started], None]


def announce_lines(started: Started) -> None:
    """To whoever started it by hand."""
    print(f"AI Orchestrator {__version__} on {started.url} ({started.models} models, policy {started.policy_version})")
    for url in started.operators:
        print(f"operators: {url}/admin and {url}/metrics")
    for hint in started.hints:
        print(f"hint: {hint}")
    sys.stdout.flush()


def run(
    config: Path | None, *, listen: str | None, environ: Mapping[str, str], announce: Announce = announce_lines
) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` is told when it listens. Raises OrchError when it cannot start."""
    logs = Logs(sys.stderr, environ)
    logs.begin()

    def read() -> Loaded:
        loaded = load(config, environ)
        logs.configured(loaded.config)
        return loaded

    loaded = read()
    allow_files(files_needed(loaded.config))
    try:
        address = listen or loaded.config.server.listen
        uvloop.run(_serve(loaded, read, listen=address, environ=environ, announce=announce))
    except (OrchError, ExceptionGroup):
        raise
    except Exception as error:
        log.critical("a bug of ours ended the proxy", exc_info=error)
        raise Crashed(f"a bug of ours ended the proxy ({type(error).__name__}); the log says where") from None


async def _serve(loaded: Loaded, read: Load, *, listen: str, environ: Mapping[str, str], announce: Announce) -> None:
    reload_asked = Asked()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    loop.set_exception_handler(tell_of_loop_errors)
    wanted = {LISTEN: listen, ADMIN_LISTEN: loaded.config.admin.listen}
    addresses = {setting: address for setting, address in wanted.items() if address is not None}
    check_apart(addresses)
    async with contextlib.AsyncExitStack() as stack:
        claimed = [
            stack.enter_context(contextlib.closing(claim(address, setting))) for setting, address in addresses.items()
        ]
        running = await stack.enter_async_context(opened(loaded, load=read, environ=environ, reload_asked=reload_asked))
        for address in addresses.values():
            await check_exposure(running, address, environ)
        await stack.enter_async_context(operators_served(running, claimed[1:]))
        server = Server(server_config(running.asgi, running, drain_s=loaded.config.limits.drain_s))
        _spare_the_collector()
        tasks = await stack.enter_async_context(beside())
        tasks.start(_announced(server, loaded, claimed, announce))
        await server.serve(sockets=claimed[:1])


def _spare_the_collector() -> None:
    """What is loaded by now stays as long as the process: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@contextlib.asynccontextmanager
async def operators_served(running: Running, claimed: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve ``/admin`` and ``/metrics`` on these sockets until the body ends, so that a drain can be watched."""
    if running.admin is None:
        yield
        return
    server = OperatorServer(server_config(running.admin, running, drain_s=OPERATOR_DRAIN_S))
    async with served(server, claimed):
        yield


@contextlib.asynccontextmanager
async def served(server: Server, claimed: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve on these sockets while the body runs. However the body ends, the serving ends in order."""
    failed: Exception | None = None
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=list(claimed)))
        try:
            await server.up.wait()
            yield
        except Exception as error:
            failed = error  # carried past the group, which would cut the serving off
        finally:
            server.should_exit = True
    if failed is not None:
        raise failed


class Server(uvicorn.Server):
    """uvicorn, but a signal ends its serving only: uvicorn would raise the signal again before our books are closed.

    ``up`` is set once it listens.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C: uvicorn would leave running calls to the death of the process
            for task in self.server_state.tasks:
                task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class OperatorServer(Server):
    """The second listener of the process: no signal ends it, but the end of the first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_config(app: ASGIApp, running: Running, *, drain_s: float) -> uvicorn.Config:
    """How uvicorn serves us: httptools (h11 serves smuggled requests) under our limits, no lifespan, no logs on the hot path."""
    return uvicorn.Config(
        app,
        http=receiver(lambda: running.gateway.live.version.limits),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )


def claim(listen: str, setting: str = LISTEN) -> socket.socket:
    """The address as a bound socket. Nobody can connect until the server listens on it. ``setting`` is what names it."""
    host, port = _place(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    claimed = socket.socket(family, socket.SOCK_STREAM)
    claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        claimed.bind((host, port))
    except OSError as error:
        claimed.close()
        taken = error.errno == errno.EADDRINUSE
        by = f" by {who}" if taken and (who := listener(port)) else ""
        mend = "Stop what uses it, or set" if taken else "Set"
        raise StartError(f"cannot listen on {listen}: {error.strerror}{by}. {mend} {setting} to another.") from error
    return claimed


def check_apart(addresses: Mapping[str, str]) -> None:
    """Refuse two listeners at one place: the system would let both claim it, and fail when they listen."""
    places = [_place(address) for address in addresses.values()]
    for (host, port), (other_host, other_port) in combinations(places, 2):
        if port and port == other_port and (host == other_host or _is_all(host) or _is_all(other_host)):
            raise StartError(f"{' and '.join(addresses)} are both at port {port}. Set one of them to another.")


def _place(listen: str) -> tuple[str, int]:
    """Host and port. Raises StartError for an address that is none."""
    try:
        return parse_listen(listen)
    except ValueError as error:
        raise StartError(f"cannot listen on {listen!r}: {error}") from None


def _is_all(host: str) -> bool:
    """Whether the host stands for every address of the machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def files_needed(config: Config) -> int:
    """Open files when every connection that the configuration allows is open."""
    upstreams = sum(upstream.connections_max for upstream in config.upstreams.values())
    listeners = 1 if config.admin.listen is None else 2
    return listeners * (config.limits.connections_max + TURNED_AWAY_MAX) + upstreams + FILES_BESIDE_MAX


def allow_files(wanted: int) -> None:
    """Let the process open so many files, or as many as it may: without one left it could take no call and reach no upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "this process may open %d files, its limits allow for %d: raise the system's limit (ulimit -n, LimitNOFILE)"
            " or lower limits.connections_max",
            allowed,
            wanted,
        )


async def check_exposure(running: Running, listen: str, environ: Mapping[str, str]) -> None:
    """Refuse to be reachable from elsewhere while nobody holds an admin key."""
    host, _ = parse_listen(listen)
    if is_loopback(host) or environ.get("ORCH_ADMIN_KEY", "").strip():
        return
    if any(key.role == "admin" and key.revoked_at is None for key in await running.store.keys()):
        return
    raise StartError(
        f"{listen} can be reached from other machines and there is no admin key. "
        "Set ORCH_ADMIN_KEY, or run `orch keys create --admin`, or listen on 127.0.0.1."
    )


async def _announced(server: Server, loaded: Loaded, claimed: Sequence[socket.socket], announce: Announce) -> None:
    """Say where, once it is true: whoever reads the line may connect at once."""
    await server.up.wait()
    calls, *operators = (_url(one) for one in claimed)
    announce(
        Started(
            url=f"{calls}/v1",
            operators=tuple(operators),
            models=len(loaded.models),
            policy_version=loaded.policy_version,
            hints=loaded.hints,
        )
    )


def _url(claimed: socket.socket) -> str:
    host, port = claimed.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
