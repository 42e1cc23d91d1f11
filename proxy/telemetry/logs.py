"""Logs: every line, ours and every library's, through one sink: JSON or for people, with its request, without secrets.

Modules log with the standard library and know nothing of this. What libraries say below a warning is not written: their
debug lines carry whole requests.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from proxy.config.settings import Config, Log
from proxy.redaction import redact, spellings
from proxy.telemetry.port import REQUEST_ID
from proxy.telemetry.tracebacks import traceback_text

OURS = "proxy"
CALLS = "proxy.calls"

WITHHELD = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
"""Loggers whose lines may repeat requests and answers, and that bring handlers of their own."""

SECRET_VARIABLES = ("ORCH_SECRET", "ORCH_ADMIN_KEY")
HEADER_VARIABLES = (
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
)

FIRST = ("timestamp", "level", "message", "request_id", "logger")

log = logging.getLogger(__name__)


class Sink(logging.StreamHandler[TextIO]):
    """Where all lines end. What leaves it holds none of the secrets it was told, and nothing shaped like one."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._secrets: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """Secrets stay known when a reload replaces them: calls that began with them still run. The longest go first."""
        known = {spelling for secret in secrets for spelling in spellings(secret)} | set(self._secrets)
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)


class Logs:
    """The logging of the process; set up once, told of every configuration that is read."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self.sink = Sink(stream)
        self.sink.learn(secrets_of_environment(environ))
        self._is_terminal = stream.isatty()

    def begin(self, settings: Log | None = None) -> None:
        """Take over the root logger, warnings and errors that nobody caught."""
        logging.basicConfig(handlers=[self.sink], level=logging.WARNING, force=True)
        for name in WITHHELD:
            logger = logging.getLogger(name)
            logger.filters.clear()
            logger.addFilter(_Rerouted(self.sink))
        warnings.showwarning = _show_warning
        sys.excepthook = _uncaught
        self._apply(settings or Log())

    def configured(self, config: Config) -> None:
        """Log as this configuration says, and never what it holds in secret."""
        self.sink.learn(secrets_of(config))
        self._apply(config.log)

    def _apply(self, settings: Log) -> None:
        level = logging.getLevelNamesMapping()[settings.level.upper()]
        logging.getLogger().setLevel(max(level, logging.WARNING))
        logging.getLogger(OURS).setLevel(level)
        logging.getLogger(CALLS).setLevel(logging.INFO if settings.calls == "on" else logging.WARNING)
        pretty = settings.format == "pretty" or (settings.format == "auto" and self._is_terminal)
        self.sink.setFormatter(_pretty(self._is_terminal) if pretty else _json())


def secrets_of(config: Config) -> list[str]:
    """Everything secret that a configuration holds."""
    secrets = [upstream.api_key for upstream in config.upstreams.values() if upstream.api_key is not None]
    secrets += [value for upstream in config.upstreams.values() for value in upstream.headers.values()]
    return [secret.get_secret_value() for secret in secrets]


def secrets_of_environment(environ: Mapping[str, str]) -> list[str]:
    """Our own variables, and the values of the headers that go to a collector (``name=value,name=value``)."""
    own = [environ.get(name, "") for name in SECRET_VARIABLES]
    headers = ",".join(environ.get(name, "") for name in HEADER_VARIABLES)
    return [secret for secret in (*own, *(pair.partition("=")[2].strip() for pair in headers.split(","))) if secret]


def tell_of_loop_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler. asyncio's own writes the ``repr`` of everything concerned, values and all."""
    error = context.get("exception")
    log.error("event loop: %s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)


# --- one line ---------------------------------------------------------------------------------------------------------


def _json() -> logging.Formatter:
    return _formatter([structlog.processors.EventRenamer("message"), _as_json])


def _pretty(colours: object) -> logging.Formatter:
    return _formatter([structlog.dev.ConsoleRenderer(colors=bool(colours), pad_event_to=0)])


def _formatter(renderers: list[Processor]) -> logging.Formatter:
    chain: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _with_request,
        _with_fields,
        _with_traceback,
    ]
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=chain, processors=last)


def _as_json(logger: WrappedLogger, method: str, line: EventDict) -> str:
    """One object; what is looked at first comes first."""
    ordered = {name: line.pop(name) for name in FIRST if name in line} | dict(line)
    return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _with_request(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    request_id = REQUEST_ID.get()
    return line if request_id is None else {**line, "request_id": request_id}


def _with_fields(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """What was given as ``extra={"fields": …}``."""
    return {**line, **getattr(line["_record"], "fields", {})}


def _with_traceback(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    record = line["_record"]
    line.pop("exc_info", None)
    error = record.exc_info[1] if record.exc_info else None
    return line if error is None else {**line, "exception": traceback_text(error)}


# --- what comes by other ways -----------------------------------------------------------------------------------------


class _Rerouted(logging.Filter):
    """On a logger with handlers of its own: its lines go to the sink instead, saying where but not what."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            where = (
                f"{record.name} logged at {record.module}:{record.lineno}; its text may hold a request and is withheld"
            )
            self._sink.handle(logging.LogRecord(record.name, record.levelno, "", 0, where, None, record.exc_info))
        return False


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """A library's warning: which and where. Its text may repeat a value, as pydantic's do."""
    log.warning("warning: %s at %s:%d", category.__name__, filename, lineno)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("an error that nobody caught", exc_info=(kind, error, trace))
