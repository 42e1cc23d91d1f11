"""The log: its two forms, what every line carries, and what none does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config.settings import Config
from proxy.telemetry.logs import WITHHELD, Logs, tell_of_loop_errors
from proxy.telemetry.port import REQUEST_ID

CANARY = "canary" + "-of-a-prompt"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process's logging belongs to the tests again afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, warnings.showwarning, sys.excepthook)
    yield
    root.handlers[:], level, warnings.showwarning, sys.excepthook = before
    root.setLevel(level)
    for name in ("proxy", "proxy.calls"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name in WITHHELD:
        logging.getLogger(name).filters.clear()


def logs(stream: io.StringIO, environ: dict[str, str] | None = None, **config: Any) -> Logs:
    made = Logs(stream, environ or {})
    made.begin()
    made.configured(Config.model_validate(config))
    return made


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_its_request() -> None:
    logs(stream := io.StringIO())
    token = REQUEST_ID.set("0193")
    logging.getLogger("proxy.edge").warning("slow: %d s", 3)
    REQUEST_ID.reset(token)
    logging.getLogger("proxy.edge").warning("again")

    first, second = lines(stream)
    assert list(first)[:4] == ["timestamp", "level", "message", "request_id"]
    assert (first["level"], first["message"], first["request_id"]) == ("warning", "slow: 3 s", "0193")
    assert (first["logger"], "request_id" in second) == ("proxy.edge", False)


@pytest.mark.parametrize(
    ("stream", "form", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "pretty", False),
    ],
)
def test_people_read_on_a_terminal_and_machines_elsewhere(stream: type[io.StringIO], form: str, is_json: bool) -> None:
    logs(written := stream(), log={"format": form})
    logging.getLogger("proxy").warning("hello")
    assert written.getvalue().startswith('{"timestamp"') is is_json
    assert "hello" in written.getvalue()


def test_the_level_is_of_our_own_lines_and_libraries_begin_at_a_warning() -> None:
    logs(stream := io.StringIO(), log={"level": "debug"})
    logging.getLogger("proxy.x").debug("ours")
    logging.getLogger("aiosqlite").debug(CANARY)
    logging.getLogger("httpcore").info(CANARY)
    logging.getLogger("uvicorn.error").warning("theirs")
    assert [line["message"] for line in lines(stream)] == ["ours", "theirs"]


def test_a_reload_may_change_the_level() -> None:
    made = logs(stream := io.StringIO(), log={"level": "error"})
    logging.getLogger("proxy.x").warning("no")
    made.configured(Config.model_validate({"log": {"level": "info"}}))
    logging.getLogger("proxy.x").info("yes")
    assert [line["message"] for line in lines(stream)] == ["yes"]


def test_no_secret_leaves_the_sink_however_it_came_in() -> None:
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "a=collectorone, b=collectortwo"}
    secrets = {"ORCH_SECRET": "pepper-of-this-proxy", "ORCH_ADMIN_KEY": 'odd"one\\key', **headers}
    upstream = {"base_url": "http://h/v1", "api_key": "plainprovider", "headers": {"x-team": "teamheader"}}
    made = logs(stream := io.StringIO(), secrets, upstreams={"a": upstream})
    made.configured(Config.model_validate({"upstreams": {"a": {**upstream, "api_key": "newprovider"}}}))
    log = logging.getLogger("proxy.x")
    log.error("keys %s", [*secrets.values(), "plainprovider", "teamheader", "newprovider", "sk-orch-0123_abcdefgh"])
    log.error("at http://user:word@h/v1?key=%s", "plainprovider", extra={"fields": {"field": "newprovider"}})

    text = stream.getvalue()
    for secret in (
        "pepper",
        "odd",
        "plainprovider",
        "teamheader",
        "newprovider",
        "abcdefgh",
        "word",
        "?key",
        "collector",
    ):
        assert secret not in text
    assert len(lines(stream)) == 2


def test_an_error_is_told_without_values() -> None:
    logs(stream := io.StringIO())
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("proxy.x").exception("a bug of ours")

    (line,) = lines(stream)
    assert line["exception"].endswith("ValueError")
    assert "test_logs.py" in line["exception"]
    assert CANARY not in stream.getvalue()


def test_what_libraries_say_of_requests_is_withheld() -> None:
    logs(stream := io.StringIO())
    noisy, own = logging.getLogger("LiteLLM"), io.StringIO()
    noisy.addHandler(handler := logging.StreamHandler(own))  # as LiteLLM does when it is imported, later
    noisy.error("request %s failed", CANARY)
    noisy.warning(CANARY)
    noisy.info(CANARY)
    noisy.removeHandler(handler)

    assert own.getvalue() == ""
    assert [(line["logger"], line["level"]) for line in lines(stream)] == [("LiteLLM", "error"), ("LiteLLM", "warning")]
    assert "test_logs" in lines(stream)[0]["message"]
    assert CANARY not in stream.getvalue()


def test_warnings_say_which_and_where_but_not_what() -> None:
    logs(stream := io.StringIO())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, UserWarning, stacklevel=1)

    (line,) = lines(stream)
    assert "UserWarning" in line["message"]
    assert "test_logs.py" in line["message"]
    assert CANARY not in stream.getvalue()


def test_an_error_nobody_caught_is_a_line_too() -> None:
    logs(stream := io.StringIO())
    try:
        raise KeyError(CANARY)
    except KeyError as error:
        sys.excepthook(KeyError, error, error.__traceback__)
    (line,) = lines(stream)
    assert (line["level"], line["exception"].endswith("KeyError")) == ("critical", True)
    assert CANARY not in stream.getvalue()


async def test_what_the_event_loop_complains_of_is_told_without_values() -> None:
    logs(stream := io.StringIO())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_of_loop_errors)
    loop.call_exception_handler({"message": "Task was lost", "exception": ValueError(CANARY), "future": [CANARY]})
    (line,) = lines(stream)
    assert line["message"] == "event loop: Task was lost"
    assert line["exception"].endswith("ValueError")
    assert CANARY not in stream.getvalue()
