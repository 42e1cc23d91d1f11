"""The command ``orch``: a table of commands, each imported only when it is run, and one place that makes errors of one line.

Exit codes: 0 done · 1 not ok (``check``, ``doctor``, ``ledger verify``, ``demo``, ``reload`` found something wrong, the address
or a file cannot be had, or an error of ours) · 2 wrong usage or input, nothing changed · 3 the store cannot be had · 130
interrupted.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from proxy import __version__
from proxy.errors import CallerError, ConfigError, JournalUnavailable, OrchError, Overloaded

TABLE = {
    "serve": "Start the proxy.",
    "demo": "Try it out: a proxy with a mock provider, real calls.",
    "init": "Write a commented configuration to begin with.",
    "check": "Say what is wrong with the configuration.",
    "doctor": "Say what is missing here and how to mend it.",
    "keys": "Create, list, rotate and revoke keys.",
    "users": "Create users, give them energy, look them up, erase them.",
    "models": "List the models that clients can name.",
    "calls": "Look at calls: list, show, follow live.",
    "ledger": "Check the ledger's books.",
    "db": "Upgrade the store, back it up, say how it is.",
    "report": "Add up what calls used and cost.",
    "policies": "Show the chain, and what can be put into it.",
    "reload": "Have the running proxy read its configuration anew.",
}
"""Command -> what it is for. Each is the module of that name beside this file, with its Typer ``app``."""

HELP = f"""AI Orchestrator {__version__}: an OpenAI-compatible proxy with exact energy balances.

\b
Example:
  orch init
  orch serve
  orch users create ana --energy 25
  orch keys create --user ana

\b
Exit codes:
  0 done   1 not ok   2 wrong usage or input, nothing changed   3 the store cannot be had   130 interrupted
"""


class Exit(IntEnum):
    OK = 0
    NOT_OK = 1
    USAGE = 2
    STORE = 3
    INTERRUPTED = 130


class Orch(TyperGroup):
    """Lists its commands from the table, and imports the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load(str(name)), rest


def load(name: str) -> Any:
    """The command of one row of the table, imported now."""
    return typer.main.get_command(importlib.import_module(f"proxy.cli.{name}").app)


logging.getLogger("proxy").addHandler(logging.NullHandler())  # a command says its one line; `serve` sets up its log

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(cls=Orch, help=HELP, rich_markup_mode=None, add_completion=False, context_settings=CONTEXT)


def _show_version(asked: Any) -> None:
    if asked:
        print(f"orch {__version__}")
        raise typer.Exit(Exit.OK)


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
]


@app.callback()
def orch(version: VersionOption = False) -> None:
    """The options that stand before a command."""


def table() -> Any:
    """``orch`` itself: the names and what they are for, nothing imported."""
    group: Any = typer.main.get_command(app)
    group.commands = {name: TyperCommand(name, help=text) for name, text in TABLE.items()}
    return group


def main() -> None:
    """Run ``orch`` with the arguments of this process, and end it with the command's exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to fail
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Whatever goes wrong is one line on stderr, never a traceback."""
    try:
        ended = table().main(args=list(arguments) or ["--help"], prog_name="orch", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left: not an error of ours, and nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NOT_OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:
        code, message = explained(cause(error))
        print(f"orch: {message}", file=sys.stderr)
        return code
    return int(ended or 0)


MENDS = {
    errno.ENOSPC: "; make room and run it again",
    errno.EFBIG: "; make room, or raise the limit of a file's size (ulimit -f), and run it again",
    errno.EDQUOT: "; make room and run it again",
    errno.EACCES: "; run it as a user who may, or mend the permissions",
    errno.EPERM: "; run it as a user who may, or mend the permissions",
    errno.EEXIST: "; move it away, or name another place",
    errno.ENOTDIR: "; name a place in a directory",
    errno.EROFS: "; name a place that can be written to",
    errno.EMFILE: "; raise the limit of open files (ulimit -n)",
}
"""What to do about an error of the system's, where there is more to it than its own words."""

STORE_MENDS = {
    "disk I/O error": "; look for room (df) and at the disk (dmesg), then run it again",
    "disk is full": "; make room and run it again",
    "readonly database": "; run it as the user who owns the store",
    "unable to open database file": "; run it as the user who owns the store",
    "malformed": "; it is damaged: restore a backup",
    "not a database": "; if it was a ledger it is damaged: restore a backup",
}
"""What to do about SQLite's own words."""


def mend_of_store(message: str) -> str:
    return next((mend for words, mend in STORE_MENDS.items() if words in message and "; " not in message), "")


def cause(error: Exception) -> Exception:
    """The first error inside groups of errors."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def explained(error: Exception) -> tuple[Exit, str]:
    """The exit code of an error and its one line."""
    match error:
        case typer.TyperException():
            said = one_line(in_our_words(error))
            return (
                Exit.USAGE,
                f"{said if said.endswith(('.', '?')) else said + '.'} See '{command_path(error)} --help'.",
            )
        case ConfigError(problems=[first, *more]):
            rest = f" ({len(more)} more; `orch check` lists all)" if more else ""
            return Exit.USAGE, f"{one_line(str(first))}{rest}"
        case CallerError():
            return Exit.USAGE, one_line(error.message)
        case JournalUnavailable() | Overloaded() | OrchError(reason="unusable_ledger" | "backup_failed"):
            return Exit.STORE, one_line(f"{error.message}{mend_of_store(error.message)}")
        case OrchError():
            return Exit.NOT_OK, one_line(error.message)
        case FileNotFoundError(filename=None):
            return Exit.NOT_OK, "the working directory is not there any more; change to another and run it again"
        case OSError(strerror=str(why)):
            where = f"{error.filename}: " if error.filename else ""
            return Exit.NOT_OK, one_line(f"{where}{why.lower()}{MENDS.get(error.errno or 0, '')}")
        case _:
            return Exit.NOT_OK, one_line(f"internal error, please report it: {type(error).__name__}: {error}")


def in_our_words(error: typer.TyperException) -> str:
    """What is wrong with an argument, without a word of the library that found it."""
    found, said = getattr(error.__cause__, "errors", None), error.format_message()
    if found is None or not isinstance(error, typer.BadParameter):
        return said
    words = importlib.import_module("proxy.wording").words
    return said.replace(error.message, "; ".join(words(misfit) for misfit in found()))


def command_path(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "orch"


def one_line(text: str) -> str:
    """The text with every run of white space as one space, and nothing that a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
