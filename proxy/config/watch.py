"""Watch: a changed file is live within a second, or refused with every problem while the last good configuration goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from proxy.config.files import stamps
from proxy.config.load import Loaded, NotLoaded

DEBOUNCE_MS = 250  # an editor writes in several steps
STEP_MS = 50
LOOK_MS = 500  # how often to look anyway: some file systems (network, bind mounts) tell of nothing

Load = Callable[[], Loaded]
Apply = Callable[[Loaded], Awaitable[None]]
Tell = Callable[[Sequence[str]], None]


async def watch(live: Loaded, *, load: Load, apply: Apply, on_problem: Tell, hup: asyncio.Event) -> None:
    """Reload whenever a file of the configuration changes or ``hup`` is set, until cancelled.

    ``load`` runs in a thread. ``apply`` gets each new good configuration, with what needs a restart as it is in ``live``;
    where nothing that counts has changed it gets none. ``on_problem`` gets lines to log: why a configuration was refused,
    or what needs a restart.
    """
    reloader = _Reloader(live, load, apply, on_problem, stamps=dict(live.stamps), restart=_restart_settings(live))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow_files(reloader))
        tasks.create_task(_follow_signals(reloader, hup))


@dataclass(slots=True)
class _Reloader:
    """The configuration that is live and what its files looked like; one reload at a time."""

    live: Loaded
    load: Load
    apply: Apply
    on_problem: Tell
    stamps: dict[Path, str | None]
    restart: Mapping[str, object]  # the last seen settings that need a restart
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> None:
        """Reload if a file differs from what was last read."""
        async with self.lock:
            if await asyncio.to_thread(stamps, self.stamps) != self.stamps:
                await self._reload()

    async def reload(self) -> None:
        """Reload whatever the files look like."""
        async with self.lock:
            await self._reload()

    async def _reload(self) -> None:
        before = _folders(self.stamps)
        try:
            loaded = await asyncio.to_thread(self.load)
        except NotLoaded as error:
            # Still looking at the good one's files too: the repair may be there.
            self.stamps = await asyncio.to_thread(stamps, self.live.stamps) | dict(error.stamps)
            self.on_problem(["configuration refused, the last good one goes on", *map(str, error.problems)])
        except Exception as error:
            self.stamps = await asyncio.to_thread(stamps, self.stamps)
            self.on_problem([f"configuration not read, the last good one goes on: {_defect(error)}"])
        else:
            self.stamps = dict(loaded.stamps)
            await self._take(loaded)
        if _folders(self.stamps) != before:
            self.moved.set()

    async def _take(self, loaded: Loaded) -> None:
        self._tell_restart(loaded)
        candidate = _pinned(loaded, self.live)
        if _same(candidate, self.live):
            return
        try:
            await self.apply(candidate)
        except Exception as error:
            self.on_problem([f"configuration not applied, the last good one goes on: {_defect(error)}"])
        else:
            self.live = candidate

    def _tell_restart(self, loaded: Loaded) -> None:
        wanted, running = _restart_settings(loaded), _restart_settings(self.live)
        changed = [name for name in wanted if wanted[name] != self.restart[name] and wanted[name] != running[name]]
        self.restart = wanted
        if changed:
            self.on_problem([f"{name} has changed: restart the proxy to apply it" for name in changed])


async def _follow_files(reloader: _Reloader) -> None:
    while True:
        reloader.moved.clear()
        try:
            await _follow_folders(reloader)
        except (OSError, WatchfilesRustInternalError):  # no such service here, or no watches left
            await asyncio.sleep(LOOK_MS / 1000)
            await reloader.look()


async def _follow_folders(reloader: _Reloader) -> None:
    """Look at the files at each sign from their folders, until other folders are to be watched."""
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
    async with aclosing(signs):
        async for _ in signs:
            await reloader.look()


async def _follow_signals(reloader: _Reloader, hup: asyncio.Event) -> None:
    while True:
        await hup.wait()
        hup.clear()
        await reloader.reload()


def _folders(paths: Mapping[Path, object]) -> frozenset[Path]:
    """Folders, because editors replace files; those of link targets too, and above a missing one the first there is."""
    places = {folder for path in paths for folder in (path.parent, path.resolve().parent)}
    return frozenset(next(folder for folder in (place, *place.parents) if folder.is_dir()) for place in places)


def _restart_settings(loaded: Loaded) -> dict[str, object]:
    config = loaded.config
    return {"server.listen": config.server.listen, "store": config.store, "durability": config.durability}


def _pinned(loaded: Loaded, live: Loaded) -> Loaded:
    """``loaded`` with what needs a restart as it is in ``live``."""
    kept = {"server": live.config.server, "store": live.config.store, "durability": live.config.durability}
    return replace(loaded, config=loaded.config.model_copy(update=kept))


def _same(one: Loaded, other: Loaded) -> bool:
    return one == replace(other, files=one.files, stamps=one.stamps, hints=one.hints)


def _defect(error: Exception) -> str:
    """An error that is our fault, without its text: that may repeat what the files hold."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"
