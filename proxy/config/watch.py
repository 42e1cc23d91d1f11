"""Watch: a changed file is live within a second, or refused with every problem while the last good configuration goes on."""

from __future__ import annotations

import asyncio
import logging
import os.path
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from pathlib import Path

from watchfiles import Change, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from proxy.config.files import shown, stamps
from proxy.config.loader import Loaded, NotLoaded
from proxy.errors import OrchError

DEBOUNCE_MS = 250  # an editor writes in several steps
STEP_MS = 50
LOOK_MS = 500  # how often to look anyway: some file systems (network, bind mounts) tell of nothing

# Read once, when the process starts: the address, the store, and what is shared by all versions of a configuration.
RESTART = (
    "server.listen",
    "admin.listen",
    "store",
    "durability",
    "metrics",
    "telemetry",
    "limits.bodies_bytes_max",
    "limits.close_wait_s",
    "limits.drain_s",
)

REFUSED = "configuration refused, the last good one goes on"
NOT_APPLIED = "configuration not applied, the last good one goes on"
AGAIN = "save a file anew or send SIGHUP to try again"

log = logging.getLogger(__name__)


class Result(StrEnum):
    """What became of a reload."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"  # the files say what is live
    REFUSED = "refused"  # the last good configuration goes on


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a reload, in words: why it was refused (nothing: it is live), and what waits for a restart."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Asked:
    """Reloads that somebody asks for, whatever the files look like: a signal says so, an operator waits for what comes of it."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[Told]] = []

    def set(self) -> None:
        self._asked.set()

    async def told(self) -> Told:
        """Ask, and wait for the reload that begins after this."""
        waiter: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.set()
        return await waiter

    async def follow(self, reload: Callable[[], Awaitable[Told]]) -> None:
        """Do what is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            told = await reload()
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(told)


Load = Callable[[], Loaded]
Apply = Callable[[Loaded], Awaitable[None]]
Tell = Callable[[Sequence[str]], None]
Count = Callable[[Result], None]


def write_log(lines: Sequence[str]) -> None:
    for line in lines:
        log.error("%s", line)


def no_count(result: Result) -> None:
    """Nobody counts reloads here."""


async def watch(
    live: Loaded,
    *,
    load: Load,
    apply: Apply,
    asked: Asked,
    on_problem: Tell = write_log,
    on_result: Count = no_count,
) -> None:
    """Reload whenever a file of the configuration changes or ``asked`` (SIGHUP) is set, until cancelled.

    ``load`` runs in a thread. ``apply`` gets each new good configuration, with what needs a restart as it is in ``live``;
    where nothing that counts has changed it gets none. ``on_problem`` gets lines to log: why a configuration was refused,
    or what needs a restart. ``on_result`` hears what became of every reload.
    """
    reloader = _Reloader(
        live, load, apply, on_problem, on_result, stamps=dict(live.stamps), restart=_restart_settings(live)
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow_files(reloader))
        tasks.create_task(asked.follow(reloader.reload))


@dataclass(slots=True)
class _Reloader:
    """The configuration that is live and what its files looked like; one reload at a time."""

    live: Loaded
    load: Load
    apply: Apply
    on_problem: Tell
    on_result: Count
    stamps: dict[Path, str | None]
    restart: Mapping[str, object]  # the last seen settings that need a restart
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> None:
        """Reload if a file differs from what was last read."""
        async with self.lock:
            if await asyncio.to_thread(stamps, self.stamps) != self.stamps:
                await self._reload()

    async def reload(self) -> Told:
        """Reload whatever the files look like."""
        async with self.lock:
            return await self._reload()

    async def _reload(self) -> Told:
        before = _folders(self.stamps)
        try:
            loaded = await asyncio.to_thread(self.load)
        except NotLoaded as error:
            # Still looking at the good one's files too: the repair may be there.
            self.stamps = await asyncio.to_thread(stamps, self.live.stamps) | dict(error.stamps)
            told = self._refuse(REFUSED, map(str, error.problems))
        except Exception as error:
            self.stamps = await asyncio.to_thread(stamps, self.stamps)
            told = self._refuse(f"configuration not read, the last good one goes on: {_defect(error)}")
        else:
            self.stamps = dict(loaded.stamps)
            told = await self._take(loaded)
        if _folders(self.stamps) != before:
            self.moved.set()
        return told

    async def _take(self, loaded: Loaded) -> Told:
        if gone := _vanished(loaded, self.live):
            return self._refuse(
                REFUSED, (f"{path} is gone: put it back, or restart to go on without it" for path in gone)
            )
        notes = self._tell_restart(loaded)
        candidate = _pinned(loaded, self.live)
        if _same(candidate, self.live):
            self.on_result(Result.UNCHANGED)
            return Told(notes=notes)
        try:
            await self.apply(candidate)
        except Exception as error:
            return self._refuse(f"{NOT_APPLIED}: {_reason(error)}; {AGAIN}")
        self.live = candidate
        self.on_result(Result.APPLIED)
        return Told(notes=notes)

    def _refuse(self, what: str, why: Iterable[str] = ()) -> Told:
        problems = tuple(why)
        self.on_problem([what, *problems])
        self.on_result(Result.REFUSED)
        return Told(problems=problems or (what,))

    def _tell_restart(self, loaded: Loaded) -> tuple[str, ...]:
        wanted, running = _restart_settings(loaded), _restart_settings(self.live)
        waiting = [name for name in wanted if wanted[name] != running[name]]
        changed = [name for name in waiting if wanted[name] != self.restart[name]]
        self.restart = wanted
        if changed:  # the log is told once of each
            self.on_problem([_restart_note(name) for name in changed])
        return tuple(_restart_note(name) for name in waiting)


async def _follow_files(reloader: _Reloader) -> None:
    while True:
        reloader.moved.clear()
        try:
            await _follow_folders(reloader)
        except (OSError, WatchfilesRustInternalError):  # no such service here, or no watches left
            await asyncio.sleep(LOOK_MS / 1000)
            await reloader.look()


async def _follow_folders(reloader: _Reloader) -> None:
    """Look at the files at each sign from their folders, and when it is time, until other folders are to be watched."""
    signs = awatch(
        *_folders(reloader.stamps),
        watch_filter=None,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
        stop_event=reloader.moved,
    )
    looked_at = time.monotonic()
    async with aclosing(signs):
        async for changes in signs:
            if _all_of_the_store(changes, reloader.live) and time.monotonic() < looked_at + LOOK_MS / 1000:
                continue
            await reloader.look()
            looked_at = time.monotonic()


def _all_of_the_store(changes: Collection[tuple[Change, str]], live: Loaded) -> bool:
    """The store often lies beside the files and changes with every call: that is no sign, and no pause between signs."""
    name = Path(live.config.store).name
    return bool(changes) and all(Path(path).name.startswith(name) for _, path in changes)


def _vanished(loaded: Loaded, live: Loaded) -> list[str]:
    """Files of the live configuration that are not there any more, where a built-in default would take their place unasked."""
    return [shown(path) for path, stamp in loaded.stamps.items() if stamp is None and live.stamps.get(path) is not None]


def _folders(paths: Mapping[Path, object]) -> frozenset[Path]:
    """Folders, because editors replace files; those of link targets too, and above a missing one the first there is."""
    # By os.path, which takes what it cannot look at as it is: pathlib raises for a link to itself and for a locked folder.
    places = {folder for path in paths for folder in (path.parent, Path(os.path.realpath(path)).parent)}
    return frozenset(next(folder for folder in (place, *place.parents) if os.path.isdir(folder)) for place in places)


def _restart_note(name: str) -> str:
    return f"{name} has changed: restart the proxy to apply it"


def _restart_settings(loaded: Loaded) -> dict[str, object]:
    return {name: attrgetter(name)(loaded.config) for name in RESTART}


def _pinned(loaded: Loaded, live: Loaded) -> Loaded:
    """``loaded`` with what needs a restart as it is in ``live``."""
    config = loaded.config
    for name in RESTART:
        section, _, field_name = name.rpartition(".")
        kept = {field_name: attrgetter(name)(live.config)}
        whole = {section: getattr(config, section).model_copy(update=kept)} if section else kept
        config = config.model_copy(update=whole)
    return replace(loaded, config=config)


def _same(one: Loaded, other: Loaded) -> bool:
    return one == replace(other, files=one.files, stamps=one.stamps, hints=one.hints)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, OrchError) else _defect(error)


def _defect(error: Exception) -> str:
    """An error that is our fault, without its text: that may repeat what the files hold."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"
