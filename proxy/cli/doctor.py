"""``orch doctor``: what is missing on this machine, and how to mend it; one line for each thing looked at."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from proxy import server
from proxy.cli import Exit, machine, one_line, reach, show, storecheck
from proxy.cli.findings import Finding, Level, broken, doubtful, fine
from proxy.cli.ledgers import ConfigOption, loaded, stored
from proxy.config import Loaded, is_loopback, parse_listen
from proxy.errors import ConfigError, OrchError
from proxy.journal import lock
from proxy.journal.sqlite import read_only
from proxy.keys import ADMIN_KEY_CHARS_MIN

app = typer.Typer(rich_markup_mode=None, add_completion=False)

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@app.command(epilog="Example: orch doctor --config config.yaml")
def doctor(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Look at everything the proxy needs, and say how to mend what is not right. Exit 1 when something fails.

    A connection is made to each provider and closed again; nothing is sent, no key is shown.
    """
    findings = []
    for finding in _looked_at(config):
        findings.append(finding)
        if not json:
            _print(finding)
    if json:
        show.as_json([asdict(finding) for finding in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(Exit.NOT_OK)


def _looked_at(config: Path | None) -> Iterator[Finding]:
    yield machine.python()
    yield machine.sqlite()
    yield machine.litellm()
    yield from machine.startup_files()
    found, about = _configuration(config)
    yield from about
    database = None
    with suppress(ConfigError):  # told already
        database = stored(config).database
    if database is not None:
        yield from _store(database)
    yield machine.clock(storecheck.latest_ms(database) if database else None)
    if found is not None and database is not None:
        yield machine.open_files(found.config)
        yield from _listening(found, database, os.environ)
        yield from reach.keys(found.config.upstreams)
        yield from asyncio.run(reach.reachable(found.config.upstreams))


def _configuration(config: Path | None) -> tuple[Loaded | None, list[Finding]]:
    try:
        found = loaded(config)
    except ConfigError as error:
        first, *more = error.problems
        rest = f" ({len(more)} more)" if more else ""
        return None, [broken("configuration", f"{first}{rest}", "`orch check` lists every problem")]
    says = f"{len(found.policies)} policies, {len(found.models)} models, policy version {found.policy_version}"
    hints = [doubtful("configuration", hint, "see docs/configuration.md") for hint in found.hints if "free" in hint]
    return found, [fine("configuration", says), *hints]


def _store(database: Path) -> Iterator[Finding]:
    yield from storecheck.place(database)
    yield storecheck.books(database)
    yield storecheck.held(database)
    yield from storecheck.permissions(database, os.environ)


def _listening(found: Loaded, database: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the address can be had, and is not open to the world."""
    listen = found.config.server.listen
    running = lock.holder(database)
    try:
        server.claim(listen).close()
        yield fine("address", f"{listen} is free")
    except OrchError as error:
        if running is not None and running.socket is not None:
            yield fine("address", f"{listen} is taken, as it has to be while process {running.pid} serves")
        else:
            yield broken("address", error.message, "stop what uses it, or set server.listen to another")
    yield from _admin_key(listen, database, environ)


def _admin_key(listen: str, database: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    given = environ.get("ORCH_ADMIN_KEY", "").strip()
    if given and len(given) < ADMIN_KEY_CHARS_MIN:
        yield broken(
            "admin key", f"ORCH_ADMIN_KEY is shorter than {ADMIN_KEY_CHARS_MIN} characters", "openssl rand -hex 24"
        )
        return
    if is_loopback(parse_listen(listen)[0]):
        return
    if given or asyncio.run(_has_admin_key(database)):
        yield fine("admin key", "there is one, as an address has to have that other machines can reach")
    else:
        yield broken(
            "admin key",
            f"{listen} can be reached from other machines and there is no admin key",
            "set ORCH_ADMIN_KEY, or run `orch keys create --admin`",
        )


async def _has_admin_key(database: Path) -> bool:
    try:
        async with read_only(database) as reader:
            return any(key.role == "admin" and key.revoked_at is None for key in await reader.keys())
    except OrchError:
        return False


def _print(finding: Finding) -> None:
    text = one_line(str(finding))
    if not sys.stdout.isatty():
        print(f"{finding.level:<4}  {text[len(finding.level) :].lstrip()}", flush=True)
        return
    shown = Text(f"{finding.level:<4}", style=COLOURS[finding.level])
    Console(soft_wrap=True).print(shown + f"  {text[len(finding.level) :].lstrip()}")
