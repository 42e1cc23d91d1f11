"""The shape of ``config.yaml``: what an operator writes about the process, its store, its upstreams and its models.

Policies and prices have files of their own. Every field's description is its reference documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from proxy.config.addresses import checked_base_url, checked_header, checked_listen, checked_secret, checked_store
from proxy.config.durations import checked_duration, duration_ms
from proxy.journal.masks import masks
from proxy.journal.retention import KEEP_MS_MIN

NAME_CHARS_MAX = 200


def _checked_name(name: str) -> str:
    if not name.isascii() or not name.isprintable() or " " in name:  # names go out in response headers
        raise ValueError("a name must be printable ASCII without blanks")
    return name


def _checked_upstream_name(name: str) -> str:
    if "/" in name:
        raise ValueError("the name of an upstream must not contain a slash: clients may write upstream/model")
    return name


def _checked_secret(secret: SecretStr) -> SecretStr:
    checked_secret(secret.get_secret_value())
    return secret


def _checked_keep(text: str) -> str:
    if duration_ms(text) < KEEP_MS_MIN:
        raise ValueError(f"{text} is too short: at least 1h, for a call may be taken back that long")
    return text


def _checked_mask(text: str) -> str:
    masks([text])
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX), AfterValidator(_checked_name)]
UpstreamName = Annotated[Name, AfterValidator(_checked_upstream_name)]
Secret = Annotated[SecretStr, AfterValidator(_checked_secret)]
HeaderName = Annotated[str, AfterValidator(checked_header)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
"""USD per million tokens; at six decimal places it is a whole number of pico-dollars a token."""


class Settings(BaseModel):
    """Base of everything an operator writes: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_guessed(cls, given: object) -> object:
        """Pydantic would take ``no``, ``on`` and 1 for flags, and ``true`` for the number 1."""
        if not isinstance(given, Mapping):
            return given
        takes = {name: _scalars(field.annotation) for name, field in cls.model_fields.items()}
        return {name: _UNFIT if _guessed(value, takes.get(name, set())) else value for name, value in given.items()}


_UNFIT = object()
"""What no scalar field takes: it stands for a value that pydantic would have to guess at."""


def _scalars(annotation: object) -> set[object]:
    """Which of bool, int, float and Decimal a field takes, alone or in a union."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return {kind for part in get_args(annotation) for kind in _scalars(part)}
    return {annotation} if annotation in (bool, int, float, Decimal) else set()


def _guessed(value: object, takes: set[object]) -> bool:
    """Whether a flag is neither true nor false (as text too: that is what a variable holds), or a number is one of them."""
    if bool in takes and value is not None:
        return str(value).lower() not in ("true", "false")
    return isinstance(value, bool) and bool(takes)


class Limits(Settings):
    """Every resource has a named limit."""

    body_bytes_max: int = Field(32 * 1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    bodies_bytes_max: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="All request bodies being read or served together, in bytes. A change needs a restart.",
    )
    json_depth_max: int = Field(200, ge=4, le=900, description="Deepest nesting of a request's JSON.")
    json_values_max: int = Field(
        500_000, ge=100, description="Most values in a request's JSON; each takes far more memory than its bytes."
    )
    answer_bytes_max: int = Field(
        32 * 1024 * 1024, ge=1024, description="Largest answer that is not streamed, in bytes."
    )
    sse_event_bytes_max: int = Field(8 * 1024 * 1024, ge=1024, description="Largest event of a stream, in bytes.")
    head_s: float = Field(
        10, gt=0, description="How long a client may take to send a request's head, in seconds; a new one, to begin."
    )
    body_s: float = Field(
        60,
        gt=0,
        description="How long a client may pause while it sends a body, in seconds. The whole takes call_s at most.",
    )
    keep_alive_s: float = Field(
        75, gt=0, description="How long an idle connection waits for its next request, in seconds."
    )
    linger_s: float = Field(
        2,
        gt=0,
        description="How long a client that was refused while it sent may go on sending until its connection is cut, in"
        " seconds; what it sends is dropped.",
    )
    target_bytes_max: int = Field(
        8 * 1024, ge=256, description="Longest target of a request (path and query), in bytes."
    )
    head_bytes_max: int = Field(64 * 1024, ge=1024, description="All headers of a request together, in bytes.")
    headers_max: int = Field(100, ge=8, description="Headers of a request.")
    connections_max: int = Field(
        4096, ge=1, description="Connections of clients at the same time; more are answered with 503 and closed."
    )
    connections_per_address_max: int | None = Field(
        None,
        ge=1,
        description="Connections from one address (IPv6: one /64), counted likewise. Default: no cap, because a back end"
        " or a reverse proxy is one address.",
    )
    calls_max: int = Field(1000, ge=1, description="Calls served at the same time; more are refused with 503.")
    call_s: float = Field(600, gt=0, description="A call's own deadline, in seconds, from its arrival.")
    headers_after_s: float | None = Field(
        None,
        gt=0,
        description="Send a stream's status and a comment after this long without content, and again as often, in seconds: "
        "for load balancers that cut silent connections. A later failure is then an event, not a status. Default: never.",
    )
    stall_s: float = Field(60, gt=0, description="How long a client may stop reading its answer, in seconds.")
    close_wait_s: float = Field(
        5, gt=0, description="How long an answer's end waits for the journal, in seconds. A change needs a restart."
    )
    drain_s: float = Field(
        30, ge=0, description="How long a shutdown waits for running calls, in seconds. A change needs a restart."
    )


class Server(Settings):
    """Where clients connect."""

    listen: Annotated[str, AfterValidator(checked_listen)] = Field(
        "127.0.0.1:4000", description="host:port to listen on. Other than loopback needs an admin key."
    )


class Admin(Settings):
    """Where operators and back ends connect."""

    listen: Annotated[str, AfterValidator(checked_listen)] | None = Field(
        None,
        description="host:port for /admin and /metrics, which server.listen then does not serve. Other than loopback needs"
        " an admin key. Default: server.listen serves them.",
    )


class Log(Settings):
    """What the log says and how. It goes to stderr."""

    format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="json: one object a line. pretty: for people. auto: pretty on a terminal, else json."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least of the proxy's own lines. Libraries are logged from warning on."
    )
    calls: Literal["off", "on"] = Field("off", description="on: one line for each call that has ended.")


class MetricsSettings(Settings):
    """``GET /metrics``."""

    public: bool | None = Field(
        None,
        description="Whether /metrics needs no key. Default: none over loopback, unless a reverse proxy forwards it; else"
        " an admin key.",
    )
    verify_s: float | None = Field(
        300, ge=1, description="How often the books are checked while the proxy runs, in seconds. Empty: never."
    )


class Records(Settings):
    """What is kept of calls. The ledger's entries are always kept."""

    keep: Annotated[Annotated[str, AfterValidator(_checked_keep)], BeforeValidator(checked_duration)] | None = Field(
        None,
        description="How long the record of a call is kept after it ended: a whole number and d, h, m or s, such as 90d; at"
        " least 1h. Default: for ever.",
    )
    bodies: Literal["off", "errors", "all"] = Field(
        "off",
        description="Whether prompts and answers are stored with the record, the first 64 KiB of each. errors: of calls that"
        " were not answered.",
    )
    redact: tuple[Annotated[str, AfterValidator(_checked_mask)], ...] = Field(
        (),
        max_length=50,
        description="What is taken out of stored bodies: paths such as $.messages[*].content, $..email, and regular"
        " expressions (whatever does not begin with $).",
    )
    refusals_per_minute: int = Field(
        60,
        ge=0,
        le=10_000,
        description="Refused calls of one key that are recorded one by one in a minute; more are counted, exactly.",
    )


class Telemetry(Settings):
    """OpenTelemetry; needs the extra ``otel``."""

    otlp: Annotated[str, AfterValidator(checked_base_url)] | None = Field(
        None,
        description="An OTLP/HTTP collector, such as http://127.0.0.1:4318; traces and metrics go there. Default:"
        " OTEL_EXPORTER_OTLP_ENDPOINT, else none.",
    )


class UpstreamSettings(Settings):
    """One provider, or one OpenAI-compatible server."""

    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = Field(
        None, description="OpenAI-compatible base URL, up to and with /v1. Default: the provider's own."
    )
    api_key: Secret | None = Field(
        None, description="Key sent to the provider. Use ${NAME} to take it from the environment."
    )
    provider: Name | None = Field(
        None,
        description="LiteLLM's name of the provider (openai, anthropic, gemini …). Default: with base_url the one known"
        " by it, else openai; without base_url the upstream's own name.",
    )
    via: Literal["passthrough", "litellm", "mock"] | None = Field(
        None,
        description="passthrough: OpenAI-compatible HTTP, relayed as bytes. litellm: any other provider. mock: answers"
        " in-process. Default: passthrough where the provider is OpenAI-compatible, else litellm.",
    )
    stream_usage: bool = Field(
        True,
        description="False where the server refuses stream_options.include_usage (Mistral's default); usage that it"
        " does not send of itself is estimated then.",
    )
    headers: dict[HeaderName, Secret] = Field(default_factory=dict, description="Extra request headers.")
    connections_max: int = Field(256, ge=1, le=10_000, description="Connections kept to this upstream.")
    connect_s: float = Field(10, gt=0, description="Time to connect, in seconds.")


class DeploymentSettings(Settings):
    """One place where the model can be had."""

    upstream: UpstreamName = Field(description="Name of an upstream above.")
    model: Name | None = Field(None, description="The model's name there. Default: the same name.")


class Price(Settings):
    """USD per million tokens."""

    input: Usd = Field(description="USD per million input tokens.")
    output: Usd = Field(Decimal(0), description="USD per million output tokens.")
    cached_input: Usd | None = Field(None, description="USD per million cached input tokens. Default: as input.")


class ModelSettings(Settings):
    """A model that clients can name."""

    class_: Name | None = Field(
        None,
        alias="class",
        description="Price class, as used in the actions of energy.yaml. Default: by its lists, then its default_class.",
    )
    deployments: tuple[DeploymentSettings, ...] = Field(
        min_length=1, description="Where the model can be had; tried in this order."
    )
    operation: Literal["chat", "embeddings"] | None = Field(
        None, description="What the model does. Default: what LiteLLM's model map says, else chat."
    )
    price: Price | None = Field(
        None, description="What the provider charges. Default: LiteLLM's model map; unknown stays unknown, never 0."
    )
    lacks: tuple[Literal["vision", "audio", "tools", "schema"], ...] | None = Field(
        None, description="What this model cannot do. Default: what LiteLLM's model map says."
    )
    input_tokens_max: int | None = Field(
        None, ge=1, description="Context window for input, in tokens. Default: LiteLLM's model map."
    )
    output_tokens_max: int | None = Field(
        None, ge=1, description="Longest answer, in tokens. Default: LiteLLM's model map."
    )


class Config(Settings):
    """config.yaml as a whole."""

    server: Server = Field(default_factory=Server, description="Where to listen. A change needs a restart.")
    admin: Admin = Field(
        default_factory=Admin, description="A listener of its own for operators. A change needs a restart."
    )
    store: Annotated[str, AfterValidator(checked_store)] = Field(
        "sqlite:///data/orch.db",
        description="Ledger and records: sqlite:///path (relative to this file). A change needs a restart.",
    )
    durability: Literal["strict", "relaxed"] = Field(
        "strict",
        description="strict: synced to disk at every commit. relaxed: a power cut may lose the last commits, a crash of"
        " the process none. A change needs a restart.",
    )
    upstreams: dict[UpstreamName, UpstreamSettings] = Field(
        default_factory=dict,
        description="Providers by name. None: those whose keys are in the environment, else the mock.",
    )
    models: dict[Name, ModelSettings] = Field(
        default_factory=dict,
        description="Models by the name clients use. None: the models LiteLLM's map knows of each upstream.",
    )
    policies: str = Field(
        "policies/default.yaml",
        min_length=1,
        description="The chain: a YAML list, outermost first. Path relative to this file.",
    )
    limits: Limits = Field(default_factory=Limits, description="Named limits.")
    records: Records = Field(default_factory=Records, description="What is kept of calls, and for how long.")
    log: Log = Field(default_factory=Log, description="What is logged, and how.")
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="The metrics of /metrics. A change needs a restart."
    )
    telemetry: Telemetry = Field(
        default_factory=Telemetry, description="Traces and metrics for OpenTelemetry. A change needs a restart."
    )
