"""The tables of docs/ that are made from the code: ``python -m tests.docs_tables`` writes them anew, tests/test_docs.py compares.

A table stands below a comment that names its source, ``<!-- table: proxy.config.settings:Limits -->``, up to the next blank
line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from proxy import cli
from proxy.config.providers import PROVIDERS
from proxy.config.reference import described
from proxy.config.settings import Settings
from proxy.config.watch import RESTART
from proxy.policy.order import _BEFORE
from tests.docs_reading import ROOT, documents

MARKED = re.compile(r"(?P<mark><!-- table: (?P<source>\S+) -->\n\n)(?P<table>(?:\|.*\n)+)")

Rows = Iterator[tuple[str, ...]]


def rewritten(text: str) -> str:
    """The document with every marked table made anew."""
    return MARKED.sub(lambda found: found["mark"] + table(found["source"]), text)


def table(source: str) -> str:
    """``providers``, ``order``, ``restart``, ``orch-command``, ``options-command``, or ``module:Class`` of settings."""
    match source:
        case "providers":
            return markdown(("provider", "key taken from", "asked by", "at"), providers())
        case "order":
            return markdown(("this", "before this", "because"), order())
        case source if source.startswith("orch-"):
            return markdown(("command", "what", "for example"), commands(source.partition("-")[2].split(",")))
        case source if source.startswith("options-"):
            return markdown(("command", "takes", "what it is"), options(source.partition("-")[2].split(",")))
        case "restart":
            return markdown(("setting",), ((f"`{name}`",) for name in RESTART))
        case _:
            module, _, name = source.partition(":")
            return markdown(
                ("setting", "takes", "default", "what it is"), settings(getattr(import_module(module), name))
            )


def markdown(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def providers() -> Rows:
    for provider in PROVIDERS.values():
        keys = " or ".join(f"`{variable}`" for variable in provider.variables) or "needs none"
        at = f"`{provider.base_url}`" if provider.base_url else "the provider's own address"
        if provider.base_url_variable:
            at += f", or `{provider.base_url_variable}`"
        yield f"`{provider.name}`", keys, "passthrough" if provider.base_url else "litellm", at


def leaves(names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The commands of some rows of the command table, under their whole names."""
    for name in names:
        command = cli.load(name)
        for sub, leaf in getattr(command, "commands", {"": command}).items():
            yield f"orch {name} {sub}".rstrip(), leaf


def commands(names: Sequence[str]) -> Rows:
    for called, leaf in leaves(names):
        yield f"`{called}`", " ".join(str(leaf.help).split()), f"`{str(leaf.epilog).removeprefix('Example: ')}`"


def options(names: Sequence[str]) -> Rows:
    """What each command takes, but what all take: --config, --json, --help."""
    for called, leaf in leaves(names):
        for parameter in leaf.params:
            told = getattr(parameter, "help", None)
            if told and not {"--json", "--config"}.intersection(parameter.opts):
                yield f"`{called}`", f"`{_named(parameter)}`", str(told)


def _named(parameter: Any) -> str:
    named = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        return str(named)
    return parameter.opts[0] if parameter.is_flag else f"{parameter.opts[0]} {named}"


def order() -> Rows:
    for outer, inner, why in _BEFORE:
        yield f"`{kind_of(outer)}`", f"`{kind_of(inner)}`", why


def kind_of(policy: type[Settings]) -> str:
    (kind,) = policy.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    return str(kind)


def settings(shape: type[Settings]) -> Rows:
    """A row for each field but ``kind``."""
    for setting in described(shape):
        yield f"`{setting.name}`", setting.takes, setting.default, setting.what


def main() -> None:
    for document in documents():
        before = document.read_text()
        after = rewritten(before)
        if after != before:
            document.write_text(after)
            print(f"{document.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
