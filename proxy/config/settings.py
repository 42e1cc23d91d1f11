"""The shape of ``config.yaml``: what an operator writes about the process, its store, its upstreams and its models.

Policies and prices have files of their own. Every field's description is its reference documentation.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Settings(BaseModel):
    """Base of everything an operator writes: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Limits(Settings):
    """Every resource has a named limit."""

    body_bytes_max: int = Field(32 * 1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    bodies_bytes_max: int = Field(256 * 1024 * 1024, ge=1024, description="All request bodies being read or served together, in bytes.")
    json_depth_max: int = Field(200, ge=4, le=900, description="Deepest nesting of a request's JSON.")
    answer_bytes_max: int = Field(32 * 1024 * 1024, ge=1024, description="Largest answer that is not streamed, in bytes.")
    sse_event_bytes_max: int = Field(8 * 1024 * 1024, ge=1024, description="Largest single event of a stream, in bytes.")
    calls_max: int = Field(1000, ge=1, description="Calls served at the same time; more are refused with 503.")
    call_s: float = Field(600, gt=0, description="A call's own deadline, in seconds, from its arrival.")
    stall_s: float = Field(60, gt=0, description="How long a client may stop reading a stream, in seconds.")
    close_wait_s: float = Field(5, gt=0, description="How long an answer's end waits for the journal, in seconds.")
    drain_s: float = Field(30, ge=0, description="How long a shutdown waits for running calls, in seconds.")


class Server(Settings):
    listen: str = Field("127.0.0.1:4000", description="host:port to listen on. Other than loopback needs an admin key.")


class UpstreamSettings(Settings):
    """One provider, or one OpenAI-compatible server."""

    base_url: str | None = Field(None, description="OpenAI-compatible base URL, up to and with /v1. Default: the provider's own.")
    api_key: SecretStr | None = Field(None, description="Key sent to the provider. Use ${NAME} to take it from the environment.")
    provider: str | None = Field(None, description="LiteLLM's name of the provider (openai, anthropic, gemini …). Default: openai with base_url, else the upstream's own name.")
    via: Literal["passthrough", "litellm", "mock"] | None = Field(
        None, description="passthrough: OpenAI-compatible HTTP, relayed as bytes. litellm: any other provider. mock: answers in-process. Default: passthrough where the provider is OpenAI-compatible, else litellm."
    )
    stream_usage: bool = Field(True, description="False where the server refuses stream_options.include_usage; usage is estimated then.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Extra request headers.")
    connections_max: int = Field(256, ge=1, le=10_000, description="Connections kept to this upstream.")
    connect_s: float = Field(10, gt=0, description="Time to connect, in seconds.")


class DeploymentSettings(Settings):
    """One place where the model can be had."""

    upstream: Name = Field(description="Name of an upstream above.")
    model: str | None = Field(None, description="The model's name there. Default: the same name.")


class Price(Settings):
    """USD per million tokens."""

    input: float = Field(ge=0, description="USD per million input tokens.")
    output: float = Field(0, ge=0, description="USD per million output tokens.")
    cached_input: float | None = Field(None, ge=0, description="USD per million cached input tokens. Default: as input.")


class ModelSettings(Settings):
    """A model that clients can name."""

    class_: str | None = Field(None, alias="class", description="Price class, as used in the actions of energy.yaml. Default: by its lists, then its default_class.")
    deployments: tuple[DeploymentSettings, ...] = Field(min_length=1, description="Where the model can be had; tried in this order.")
    operation: Literal["chat", "embeddings"] | None = Field(None, description="What the model does. Default: what LiteLLM's model map says, else chat.")
    price: Price | None = Field(None, description="What the provider charges. Default: LiteLLM's model map; unknown stays unknown, never 0.")
    lacks: tuple[Literal["vision", "audio", "tools", "schema"], ...] | None = Field(None, description="What this model cannot do. Default: what LiteLLM's model map says.")
    input_tokens_max: int | None = Field(None, ge=1, description="Context window for input, in tokens. Default: LiteLLM's model map.")


class Config(Settings):
    """config.yaml as a whole."""

    server: Server = Field(default_factory=Server, description="Where to listen. A change needs a restart.")
    store: str = Field("sqlite:///data/orch.db", description="Ledger and records: sqlite:///path (relative to this file). A change needs a restart.")
    durability: Literal["strict", "relaxed"] = Field("strict", description="strict: synced to disk at every commit. relaxed: a power cut may lose the last commits, a crash of the process none. A change needs a restart.")
    upstreams: dict[Name, UpstreamSettings] = Field(default_factory=dict, description="Providers by name. None: those whose keys are in the environment, else the mock.")
    models: dict[Name, ModelSettings] = Field(default_factory=dict, description="Models by the name clients use. None: the models LiteLLM's map knows of each upstream.")
    policies: str = Field("policies/default.yaml", description="The chain: a YAML list, outermost first. Path relative to this file.")
    limits: Limits = Field(default_factory=Limits, description="Named limits.")
