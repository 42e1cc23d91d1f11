"""``orch serve``: start the proxy and serve until a signal."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from proxy import server
from proxy.cli import Exit, show
from proxy.cli.ledgers import ConfigOption
from proxy.errors import ConfigError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example: orch serve --config config.yaml --listen 127.0.0.1:4000")
def serve(
    config: ConfigOption = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Instead of server.listen.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Say in JSON where it listens, once it does.")] = False,
) -> None:
    """Start the proxy and serve until SIGTERM or Ctrl-C. Exit 1 with every problem of the configuration on a line of its own."""
    try:
        announce = _announce_json if json else server.announce_lines
        server.run(config, listen=listen, environ=os.environ, announce=announce)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        raise typer.Exit(Exit.NOT_OK) from None


def _announce_json(started: server.Started) -> None:
    show.as_json(asdict(started))
    sys.stdout.flush()
