"""``orch calls``: listed, shown, followed, watched."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.journal import lock
from tests.cli.conftest import Orch
from tests.cli.ledger_parts import call_id, with_calls, written
from tests.processes import started


@pytest.fixture
def called(orch: Orch, tmp_path: Path) -> Orch:
    with_calls(tmp_path / "data/orch.db")
    return orch


def ids(orch: Orch, *options: str) -> list[int]:
    """The numbers of the listed calls."""
    ran = orch("calls", "list", "--json", *options)
    assert ran.code == 0, ran.err
    return [int(row["id"].rpartition("-")[2]) for row in json.loads(ran.out)]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [5, 4, 3, 2, 1]),
        (("--user", "ben"), [4]),
        (("--user", "ana", "--outcome", "answered"), [5, 1]),
        (("--user", "ana", "--namespace", "shop"), []),
        (("--namespace", "app", "--limit", "2"), [5, 4]),
        (("--before", "CALL 3"), [2, 1]),
        (("--outcome", "refused"), [3]),
        (("--outcome", "open"), []),
        (("--error", "upstream_unavailable"), [2]),
        (("--model", "gpt-4o"), [5, 4, 2, 1]),
        (("--action", "ai_scan"), []),
        (("--key", "k1", "--limit", "1"), [5]),
        (("--since", "1h"), [5, 4, 3, 2, 1]),
        (("--until", "2020-01-01"), []),
        (("--limit", "1", "--all"), [5, 4, 3, 2, 1]),
    ],
    ids=lambda value: str(value).replace(call_id(3), "the third"),  # a name that is the same in every test process
)
def test_the_wanted_calls_are_listed_newest_first(called: Orch, options: tuple[str, ...], numbers: list[int]) -> None:
    named = (call_id(3) if option == "CALL 3" else option for option in options)
    assert ids(called, *named) == numbers


def test_a_list_is_a_row_a_call_and_says_how_to_go_on(called: Orch) -> None:
    ran = called("calls", "list", "--limit", "2")
    header, first, _ = ran.out.splitlines()
    shown = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (shown["ID"], shown["USER"], shown["MODEL"], shown["OUTCOME"]) == (
        call_id(5),
        "app/ana",
        "gpt-4o",
        "answered",
    )
    assert (shown["POINTS"], shown["TOKENS"], shown["USD"], shown["MS"]) == ("10", "12+40", "0.00043", "900")
    assert ran.err == f"There are more: --before {call_id(4)}\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--outcome", "anwered"), "did you mean 'answered'"),
        (("--since", "yesterday"), "--since"),
        (("--since", "1d", "--until", "2d"), "is not after"),
        (("--user", ""), "user is empty"),
        (("--namespace", "A B"), "namespace"),
        (("--limit", "0"), "--limit"),
    ],
    ids=str,
)
def test_a_filter_that_makes_no_sense_is_refused(called: Orch, options: tuple[str, ...], says: str) -> None:
    ran = called("calls", "list", *options)
    assert ran.code == 2
    assert says in ran.err


def test_one_call_is_shown_whole(called: Orch) -> None:
    told = json.loads(called("calls", "show", call_id(5), "--json").out)
    assert told["attempts"][0]["status"] == 200
    assert told["finish_reasons"] == ["stop"]
    lines = called("calls", "show", call_id(5)).out.splitlines()
    assert "how\tanswered" in lines
    assert "finish_reasons\tstop" in lines
    assert "cost_usd\t0.00043" in lines
    assert lines[-1].split("\t")[:2] == ["1", "gpt-4o"]


def test_a_call_that_is_not_there_is_said(called: Orch) -> None:
    ran = called("calls", "show", "nope")
    assert ran.code == 2
    assert "orch calls list" in ran.err


def test_following_ends_after_so_many(called: Orch) -> None:
    header, *lines = called("calls", "tail", "--count", "2", "--last", "3").out.splitlines()
    assert header.startswith("AT\tID\t")
    assert [line.split("\t")[1] for line in lines] == [call_id(3), call_id(4)]
    told = called("calls", "tail", "--count", "1", "--user", "ben", "--json").out
    assert json.loads(told)["id"] == call_id(4)


def test_calls_that_run_cannot_be_followed_by_their_end(called: Orch) -> None:
    assert called("calls", "tail", "--outcome", "open").code == 2


async def test_following_shows_what_ends_and_ctrl_c_is_its_good_end(migrated: Path, tmp_path: Path) -> None:
    shutil.copytree(migrated, tmp_path / "data")
    async with (
        written(tmp_path / "data/orch.db") as ledger,
        started("calls", "tail", "--every", "0.1", cwd=tmp_path) as child,
    ):
        await child.out.said("^AT\t")
        await ledger.answered(71)
        await child.out.said(call_id(71))
        await ledger.answered(72)
        await child.out.said(call_id(72))
        child.send(signal.SIGINT)
        assert await child.ended() == 0
    assert child.err.text == ""


def test_in_a_pipe_the_top_is_one_look(called: Orch) -> None:
    header, *lines = called("calls", "top", "--window", "3600", "--by", "user").out.splitlines()
    assert header.startswith("USER\tRUNNING")
    assert [line.split("\t")[0] for line in lines] == ["app/ana", "app/ben"]
    assert len(json.loads(called("calls", "top", "--window", "3600", "--json").out)["groups"]) == 2


def test_on_a_terminal_the_top_goes_on_until_ctrl_c(called: Orch, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "proxy", "calls", "top", "--by", "user", "--window", "3600"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path) as child:
        os.close(theirs)
        shown = b""
        while b"app/ben" not in shown:
            shown += os.read(ours, 4096)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    os.close(ours)
    assert b"Traceback" not in shown


def test_following_holds_nobody(called: Orch, tmp_path: Path) -> None:
    with lock.locked(tmp_path / "data/orch.db", socket=None, owner="a proxy"):
        assert called("calls", "tail", "--count", "1").code == 0


def test_the_ledger_of_following_is_the_one_that_is_written(called: Orch, tmp_path: Path) -> None:
    async def more() -> None:
        async with written(tmp_path / "data/orch.db") as ledger:
            await ledger.answered(6)

    asyncio.run(more())
    assert ids(called, "--limit", "1") == [6]
