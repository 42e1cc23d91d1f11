"""Tracebacks without values: where it happened and what kind of error it was, never what it was about.

The text of a foreign error may repeat what it choked on: a prompt, a key, a row. Our own errors say only what may be told.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from types import TracebackType

from proxy.errors import OrchError

FRAMES_MAX = 40
CHAIN_MAX = 8

CAUSED = "That was the cause of:"
MEANWHILE = "While that was handled, this happened:"


def traceback_text(error: BaseException) -> str:
    """The error and what led to it, innermost cause first, as Python prints it but for the values."""
    return "\n".join(_lines(error, CHAIN_MAX))


def _lines(error: BaseException, left: int) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and left:
        yield from _lines(before, left - 1)
        yield CAUSED if error.__cause__ is not None else MEANWHILE
    yield "Traceback (most recent call last):"
    yield from _frames(error.__traceback__)
    yield _title(error)
    if isinstance(error, BaseExceptionGroup) and left:
        for number, inner in enumerate(error.exceptions, 1):
            yield f"--- {number} of {len(error.exceptions)} in the group"
            yield from _lines(inner, left - 1)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    shown = 0
    while trace is not None and shown < FRAMES_MAX:
        code = trace.tb_frame.f_code
        yield f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}'
        if source := linecache.getline(code.co_filename, trace.tb_lineno).strip():
            yield f"    {source}"
        trace = trace.tb_next
        shown += 1


def _title(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error.message}" if isinstance(error, OrchError) else name
