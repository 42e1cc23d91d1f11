"""``orch check``: load the whole configuration and say that it is good, or everything that is wrong."""

from __future__ import annotations

import sys

import typer

from proxy.cli import Exit, show
from proxy.cli.ledgers import ConfigOption, loaded
from proxy.errors import ConfigError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example: orch check --config config.yaml")
def check(config: ConfigOption = None, json: show.JsonOption = False) -> None:
    """Check the configuration without starting anything: exit 0 when it is good, 1 with every problem on a line of its own."""
    try:
        found = loaded(config)
    except ConfigError as error:
        _show_problems(error, show.form(json))
        raise typer.Exit(Exit.NOT_OK) from None
    counts = {"policies": len(found.policies), "models": len(found.models), "upstreams": len(found.config.upstreams)}
    if show.form(json) is show.Form.JSON:
        show.as_json({"ok": True, **counts, "policy_version": found.policy_version, "hints": found.hints})
        return
    listed = ", ".join(f"{count} {noun}" for noun, count in counts.items())
    print(f"ok: {listed}, policy version {found.policy_version}")
    for hint in found.hints:
        print(f"hint: {hint}")


def _show_problems(error: ConfigError, form: show.Form) -> None:
    if form is show.Form.JSON:
        show.as_json({"ok": False, "problems": [str(problem) for problem in error.problems]})
        return
    for problem in error.problems:
        print(problem, file=sys.stderr)
