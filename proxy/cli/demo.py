"""``orch demo``: a proxy with the mock provider and a fresh ledger, real calls through it by the OpenAI SDK, then yours."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated

import openai
import typer

from proxy.call import Role
from proxy.cli import Exit, show
from proxy.cli.child import Child, serving_child
from proxy.cli.ledgers import with_admin, with_reader
from proxy.cli.scenes import Seen, asked_whole, streamed
from proxy.journal.admin import CreateUser
from proxy.keys import NewKey

app = typer.Typer(rich_markup_mode=None, add_completion=False)

ENERGY = 25
CONFIG = """\
store: sqlite:///orch.db
upstreams:
  mock: {via: mock}
models:
  gpt-4o: {deployments: [{upstream: mock}]}
  gpt-4o-mini: {deployments: [{upstream: mock}]}
"""
SNIPPET = """\
Paste this (Python):
  from openai import OpenAI
  client = OpenAI(base_url="%(url)s", api_key="%(key)s")
  print(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]))

or this:
  curl %(url)s/chat/completions -H "Authorization: Bearer %(key)s" -H "Content-Type: application/json" \\
    -d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
"""

ANA = (
    Seen(asked="What is a proxy?", model="gpt-4o", charged=10, left=15),
    Seen(asked="And a sidecar?", model="gpt-4o", charged=10, left=5),
    Seen(asked="Why is the sky blue?", model="gpt-4o-mini", charged=3, left=2),
    Seen(asked="One more?", refused="Insufficient energy. Required: 3, Available: 2"),
)
BEN = Seen(asked="Tell me a story.", model="gpt-4o", charged=10, left=15)
"""What must come out; whatever differs is said, and the exit code tells."""


@app.command(epilog="Example: orch demo --port 4001 --exit")
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 4000,
    leave: Annotated[bool, typer.Option("--exit", help="End after the calls instead of serving on.")] = False,
    json: show.JsonOption = False,
) -> None:
    """Start a proxy with a mock provider, make real calls through it, and keep it running to be tried."""
    told = Telling(show.form(json))
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="orch-demo-") as directory:
        config = Path(directory) / "config.yaml"
        config.write_text(CONFIG)
        with serving_child(config, port) as child:
            wrong = _play(child, config, told)
            if wrong == 0 and not leave:
                wrong = _serve_on(child, told)
    raise typer.Exit(Exit.NOT_OK if wrong else Exit.OK)


@dataclass(frozen=True, slots=True)
class Telling:
    """What is said while the calls are made; in JSON all of it at the end."""

    form: show.Form
    calls: list[dict[str, object]] = field(default_factory=list)

    def line(self, text: str) -> None:
        if self.form is show.Form.TEXT:
            print(text, flush=True)

    def call(self, user: str, expected: Seen, seen: Seen) -> int:
        """What came out of a call; 1 when it is not what had to."""
        self.calls.append({"user": user, **asdict(seen), "as_expected": seen == expected})
        self.line(f"  {user} asked gpt-4o: {seen.asked!r:<24} -> {seen}")
        if seen == expected:
            return 0
        print(f"  WRONG: expected {expected}", file=sys.stderr, flush=True)
        return 1

    def end(self, **more: object) -> None:
        if self.form is show.Form.JSON:
            show.as_json({"calls": self.calls, **more})
            sys.stdout.flush()


def _play(child: Child, config: Path, told: Telling) -> int:
    """Make the calls, check the books, print the snippet; how many things came out wrong."""
    ana, ben, yours = (_user(config, name) for name in ("ana", "ben", "you"))
    told.line(f"ana has {ENERGY} energy; an answer costs 10 on a premium model, 3 on an economy one.")
    with _client(child, ana) as client:
        wrong = sum(told.call("ana", expected, asked_whole(client, expected.asked)) for expected in ANA)
    told.line(f"ben has {ENERGY} energy, and streams.")
    with _client(child, ben) as client:
        wrong += told.call("ben", BEN, streamed(client, BEN.asked))
    broken = with_reader(config, lambda reader: reader.verify())
    books = "ok, every invariant holds" if not broken else f"{len(broken)} rows break an invariant"
    told.line(f"orch ledger verify: {books}\n")
    told.line(SNIPPET % {"url": child.url, "key": yours})
    wrong += len(broken)
    told.end(ok=wrong == 0, broken_invariants=len(broken), url=child.url, key=yours)
    return wrong


def _user(config: Path, name: str) -> str:
    """A new user with energy, made through the running proxy's control socket, and a key of it."""
    opened = CreateUser(user=name, plan="free", points=ENERGY)
    with_admin(config, lambda admin: admin.create_user(opened))
    return with_admin(config, lambda admin: admin.create_key(NewKey(role=Role.USER, user=name))).key


def _client(child: Child, key: str) -> openai.OpenAI:
    """The SDK as anyone uses it, but that no proxy of the environment stands between it and this machine."""
    return openai.OpenAI(base_url=child.url, api_key=key, http_client=openai.DefaultHttpxClient(trust_env=False))


def _serve_on(child: Child, told: Telling) -> int:
    """Until Ctrl-C; 1 when the proxy ended before."""
    try:
        # Inside: Ctrl-C is how this ends from the moment that the line is read.
        told.line(f"Serving on {child.url} until Ctrl-C (ledger and log in {child.log.parent}).")
        child.wait()
    except KeyboardInterrupt:
        told.line("\nEnding.")
        return 0
    print(f"orch: the proxy ended by itself; its last words: {child.last_words()}", file=sys.stderr)
    return 1


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does, so that the child never stays behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
