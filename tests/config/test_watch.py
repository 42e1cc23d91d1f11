"""Watch: real files change, and what is good goes live, what is not is told and changes nothing."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.config import Loaded, load
from proxy.config.watch import Asked, Result, Told, watch
from proxy.errors import UpstreamRefused

LIMIT_S = 30  # nobody waits this long unless something is broken
POLICIES = "- {kind: auth}\n- {kind: retry, backoff_s: 1}\n"


@dataclass
class Watched:
    """A running watch over real files, and what it did."""

    folder: Path
    asked: Asked = field(default_factory=Asked)
    applied: asyncio.Queue[Loaded] = field(default_factory=asyncio.Queue)
    told: asyncio.Queue[Sequence[str]] = field(default_factory=asyncio.Queue)
    results: asyncio.Queue[Result] = field(default_factory=asyncio.Queue)
    loads: asyncio.Queue[threading.Thread] = field(default_factory=asyncio.Queue)
    defect: Exception | None = None
    refusing: Exception | None = None

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def load(self) -> Loaded:
        self.loop.call_soon_threadsafe(self.loads.put_nowait, threading.current_thread())
        if self.defect:
            raise self.defect
        return load(self.folder / "config.yaml", {"KEY": "sk-canary"})

    async def apply(self, loaded: Loaded) -> None:
        if self.refusing:
            raise self.refusing
        self.applied.put_nowait(loaded)

    def write(self, name: str, text: str) -> None:
        """As editors do: a new file takes the place of the old."""
        fresh = self.folder / f"{name}.tmp"
        fresh.write_text(text)
        fresh.rename(self.folder / name)

    async def next_applied(self) -> Loaded:
        async with asyncio.timeout(LIMIT_S):
            return await self.applied.get()

    async def next_told(self) -> list[str]:
        async with asyncio.timeout(LIMIT_S):
            return list(await self.told.get())


@asynccontextmanager
async def watching(folder: Path, config: str = "limits: {calls_max: 10}\n") -> AsyncIterator[Watched]:
    (folder / "policies").mkdir()
    (folder / "policies/default.yaml").write_text(POLICIES)
    (folder / "config.yaml").write_text(config)
    watched = Watched(folder)
    live = load(folder / "config.yaml", {})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(
            watch(
                live,
                load=watched.load,
                apply=watched.apply,
                asked=watched.asked,
                on_problem=watched.told.put_nowait,
                on_result=watched.results.put_nowait,
            )
        )
        yield watched
        running.cancel()


def backoff_s(loaded: Loaded) -> object:
    return loaded.policies[1].model_dump()["backoff_s"]


async def test_a_saved_file_goes_live(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("policies/default.yaml", POLICIES.replace("backoff_s: 1", "backoff_s: 2"))
        assert backoff_s(await watched.next_applied()) == 2
        watched.write("config.yaml", "limits: {calls_max: 11}\n")
        loaded = await watched.next_applied()
        assert loaded.config.limits.calls_max == 11
        assert backoff_s(loaded) == 2
        assert watched.told.empty()


async def test_a_file_written_in_place_goes_live(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        (tmp_path / "config.yaml").write_text("limits: {calls_max: 12}\n")
        assert (await watched.next_applied()).config.limits.calls_max == 12


async def test_files_are_read_in_a_thread_of_their_own(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("config.yaml", "limits: {calls_max: 12}\n")
        await watched.next_applied()
        assert watched.loads.get_nowait() is not threading.current_thread()


async def test_a_bad_file_is_told_once_and_its_repair_goes_live(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("policies/default.yaml", "- {kind: auth}\n- {kind: retyr}\n- {kind: rewrit}\n")
        where = tmp_path / "policies/default.yaml"
        assert await watched.next_told() == [
            "configuration refused, the last good one goes on",
            f"{where}:2:10 policies[1].kind: no policy of this kind; did you mean 'retry'?",
            f"{where}:3:10 policies[2].kind: no policy of this kind; did you mean 'rewrite'?",
        ]
        watched.write("policies/default.yaml", POLICIES.replace("backoff_s: 1", "backoff_s: 3"))
        assert backoff_s(await watched.next_applied()) == 3
        assert watched.told.empty()


async def test_a_bad_file_that_is_put_back_changes_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("policies/default.yaml", "[")
        await watched.next_told()
        watched.write("policies/default.yaml", POLICIES)
        watched.write("config.yaml", "limits: {calls_max: 13}\n")
        loaded = await watched.next_applied()
        assert loaded.config.limits.calls_max == 13
        assert backoff_s(loaded) == 1


async def test_the_same_content_again_does_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("policies/default.yaml", POLICIES)
        watched.write("policies/unrelated.yaml", "x: 1\n")
        os.utime(tmp_path / "config.yaml")
        watched.write("policies/default.yaml", "# only a comment\n" + POLICIES)
        watched.asked.set()
        watched.write("config.yaml", "limits: {calls_max: 14}\n")
        assert (await watched.next_applied()).config.limits.calls_max == 14
        assert watched.applied.empty()
        assert watched.told.empty()


async def test_a_request_reads_again_even_what_has_not_changed(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.write("config.yaml", "[")
        await watched.next_told()
        watched.asked.set()
        assert (await watched.next_told())[0] == "configuration refused, the last good one goes on"
        assert watched.applied.empty()


async def test_who_asks_hears_what_came_of_the_reload_that_began_after(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, asyncio.timeout(LIMIT_S):
        assert await watched.asked.told() == Told()
        watched.write("config.yaml", "limits: {calls_max: none}\n")
        (problem,) = (await watched.asked.told()).problems
        assert "calls_max" in problem
        watched.write("config.yaml", "limits: {calls_max: 17}\ndurability: relaxed\n")
        note = Told(notes=("durability has changed: restart the proxy to apply it",))
        assert set(await asyncio.gather(watched.asked.told(), watched.asked.told())) == {note}
        assert await watched.asked.told() == note  # it still waits for the restart
        watched.asked.set()


async def test_who_asks_and_leaves_is_not_waited_for(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, asyncio.timeout(LIMIT_S):
        leaving = asyncio.get_running_loop().create_task(watched.asked.told())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await watched.asked.told() == Told()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("server: {listen: '127.0.0.1:1'}\n", "server.listen"),
        ("store: sqlite:///elsewhere.db\n", "store"),
        ("durability: relaxed\n", "durability"),
        ("limits: {drain_s: 1, calls_max: 10}\n", "limits.drain_s"),
    ],
)
async def test_what_needs_a_restart_is_said_once_and_not_applied(tmp_path: Path, config: str, name: str) -> None:
    async with watching(tmp_path) as watched:
        before = load(tmp_path / "config.yaml", {}).config
        watched.write("config.yaml", config)
        assert await watched.next_told() == [f"{name} has changed: restart the proxy to apply it"]
        watched.write("policies/default.yaml", POLICIES.replace("backoff_s: 1", "backoff_s: 4"))
        loaded = await watched.next_applied()
        while backoff_s(loaded) != 4:  # the limits that config.yaml no longer names went live before
            loaded = await watched.next_applied()
        assert loaded.config.server == before.server
        assert loaded.config.store == before.store
        assert loaded.config.durability == before.durability
        assert loaded.config.limits.drain_s == before.limits.drain_s
        assert watched.told.empty()


async def test_a_new_include_elsewhere_is_watched_too(tmp_path: Path) -> None:
    prices = (Path(__file__).parents[2] / "policies/energy.yaml").read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "energy.yaml").write_text(prices)
    async with watching(tmp_path) as watched:
        chain = POLICIES.replace("- {kind: retry", "- {kind: energy, prices: ../elsewhere/energy.yaml}\n- {kind: retry")
        watched.write("policies/default.yaml", chain)
        first = await watched.next_applied()
        assert elsewhere / "energy.yaml" in {path.resolve() for path in first.watched}
        watched.write("elsewhere/energy.yaml", prices.replace("premium: 100", "premium: 101"))
        second = await watched.next_applied()
        assert second.price_version != first.price_version


async def test_a_missing_include_goes_live_when_it_appears(tmp_path: Path) -> None:
    prices = (Path(__file__).parents[2] / "policies/energy.yaml").read_text()
    async with watching(tmp_path) as watched:
        chain = POLICIES.replace("- {kind: retry", "- {kind: energy, prices: new/energy.yaml}\n- {kind: retry")
        watched.write("policies/default.yaml", chain)
        assert "no file 'new/energy.yaml' beside the policies" in (await watched.next_told())[1]
        (tmp_path / "policies/new").mkdir()
        watched.write("policies/new/energy.yaml", prices)
        assert (await watched.next_applied()).price_version is not None


async def test_the_target_of_a_link_is_watched(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        for version in ("v1", "v2"):
            (tmp_path / version).mkdir()
            (tmp_path / version / "config.yaml").write_text(f"limits: {{calls_max: 2{version[1]}}}\n")
        (tmp_path / "current").symlink_to("v1")
        (tmp_path / "config.yaml").unlink()
        (tmp_path / "config.yaml").symlink_to("current/config.yaml")
        loaded = await watched.next_applied()
        while loaded.config.limits.calls_max != 21:  # there may have been a moment without a file
            loaded = await watched.next_applied()
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").rename(tmp_path / "current")
        assert (await watched.next_applied()).config.limits.calls_max == 22


async def test_a_defect_of_ours_is_told_without_its_text_and_the_watch_goes_on(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.defect = RuntimeError("canary")
        watched.asked.set()
        (line,) = await watched.next_told()
        assert line.startswith("configuration not read, the last good one goes on: RuntimeError at test_watch.py:")
        assert "canary" not in line
        watched.defect = None
        watched.write("config.yaml", "limits: {calls_max: 15}\n")
        assert (await watched.next_applied()).config.limits.calls_max == 15


async def test_what_cannot_be_applied_is_told_and_the_next_change_is_tried(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.refusing = RuntimeError("canary")
        watched.write("config.yaml", "limits: {calls_max: 16}\n")
        (line,) = await watched.next_told()
        assert line.startswith("configuration not applied, the last good one goes on: RuntimeError at test_watch.py:")
        watched.refusing = None
        watched.write("config.yaml", "limits: {calls_max: 17}\n")
        assert (await watched.next_applied()).config.limits.calls_max == 17


async def test_a_folder_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        (tmp_path / "policies").rename(tmp_path / "old")
        watched.asked.set()  # the package's policies must not stand in unasked
        assert await watched.next_told() == [
            "configuration refused, the last good one goes on",
            f"{tmp_path / 'policies/default.yaml'} is gone: put it back, or restart to go on without it",
        ]
        (tmp_path / "policies").mkdir()
        watched.write("policies/default.yaml", POLICIES.replace("backoff_s: 1", "backoff_s: 5"))
        assert backoff_s(await watched.next_applied()) == 5


async def test_a_change_between_load_and_watch_is_not_missed(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        (tmp_path / "config.yaml").write_text("limits: {calls_max: 18}\n")  # before the watch has run at all
        assert (await watched.next_applied()).config.limits.calls_max == 18


async def test_a_busy_store_beside_the_files_hides_no_change_that_nobody_tells_of(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with watching(tmp_path, "store: sqlite:///orch.db\n") as watched, asyncio.TaskGroup() as tasks:
        busy = tasks.create_task(_kept_busy(tmp_path / "orch.db-wal"))
        # Written by another name of the same file, so that its own folder gives no sign, as with a network's file system.
        (elsewhere / "default.yaml").hardlink_to(tmp_path / "policies/default.yaml")
        (elsewhere / "default.yaml").write_text(POLICIES.replace("backoff_s: 1", "backoff_s: 6"))
        assert backoff_s(await watched.next_applied()) == 6
        busy.cancel()


async def _kept_busy(store: Path) -> None:
    """A store that changes faster than the watch gathers changes."""
    while True:
        store.write_bytes(b"x")
        await asyncio.sleep(0.005)


async def test_a_link_to_itself_is_refused_and_the_watch_goes_on(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        (tmp_path / "loop.yaml").symlink_to("default.yaml")
        (tmp_path / "loop.yaml").rename(tmp_path / "policies/default.yaml")
        assert await watched.next_told() == [
            "configuration refused, the last good one goes on",
            f"{tmp_path / 'policies/default.yaml'}:1:1 cannot be read: Too many levels of symbolic links",
        ]
        watched.write("policies/default.yaml", POLICIES.replace("backoff_s: 1", "backoff_s: 7"))
        assert backoff_s(await watched.next_applied()) == 7


async def test_what_cannot_be_applied_is_told_in_its_own_words_where_they_are_ours(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.refusing = UpstreamRefused("LiteLLM is not installed: pip install litellm")
        watched.write("config.yaml", "limits: {calls_max: 19}\n")
        assert await watched.next_told() == [
            "configuration not applied, the last good one goes on: LiteLLM is not installed: pip install litellm; "
            "save a file anew or send SIGHUP to try again"
        ]
        watched.refusing = None
        watched.asked.set()
        assert (await watched.next_applied()).config.limits.calls_max == 19


async def test_what_became_of_each_reload_is_told(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, asyncio.timeout(LIMIT_S):
        watched.write("config.yaml", "limits: {calls_max: 11}\n")
        assert await watched.results.get() is Result.APPLIED
        watched.write("config.yaml", "limits: {calls_max: no}\n")
        assert await watched.results.get() is Result.REFUSED
        watched.write("config.yaml", "limits: {calls_max: 11}\n")
        assert await watched.results.get() is Result.UNCHANGED
        (tmp_path / "config.yaml").unlink()
        assert await watched.results.get() is Result.REFUSED
        watched.write("config.yaml", "limits: {calls_max: 11}\n")
        assert await watched.results.get() is Result.UNCHANGED
        watched.refusing = UpstreamRefused("no")
        watched.write("config.yaml", "limits: {calls_max: 12}\n")
        assert await watched.results.get() is Result.REFUSED
