"""LiteLLM: every provider that does not speak OpenAI's protocol, behind the same port as those that do.

What goes through are OpenAI's parameters only: fields that LiteLLM does not translate (``metadata``, a provider's own
extras) are dropped, those a provider cannot do and whose loss would be noticed are refused. One key per upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from proxy.call import Operation
from proxy.config.providers import provider_of
from proxy.config.settings import Limits, UpstreamSettings
from proxy.errors import UpstreamError, UpstreamUnavailable
from proxy.upstream.litellm_answer import DONE, Events, completion_json, embeddings_json
from proxy.upstream.litellm_errors import Where, translated
from proxy.upstream.litellm_library import Library, load_library
from proxy.upstream.litellm_request import fitted, openai_arguments, with_output_cap
from proxy.upstream.port import CALL_ID_HEADER, Take, UpstreamRequest

# LiteLLM's own deadline, far above the call's: the chain owns deadlines, and LiteLLM's count differently per provider.
TIMEOUT_CALLS = 3.0

# Sent where the operator names a server and no key: LiteLLM would take the real provider's key from the environment.
NO_KEY = "none"

OPENAI_PROTOCOL = frozenset({"openai", "azure", "custom_openai"})

# What operators write after the host, by habit from OpenAI's; LiteLLM adds the whole path itself.
URL_TAIL: Mapping[str, str] = MappingProxyType({"anthropic": "/v1"})


class LitellmUpstream:
    """One provider through LiteLLM. ``load`` imports it (seconds of CPU); the first ``send`` does where nobody called it."""

    def __init__(self, name: str, settings: UpstreamSettings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._provider = provider_of(settings, name)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._key = key or (NO_KEY if settings.base_url else None)
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._headers = headers
        self.secrets = tuple(secret for secret in (key, *headers.values()) if secret)
        self._library: Library | None = None

    @property
    def stream_usage(self) -> bool:
        return self._settings.stream_usage

    async def load(self) -> None:
        """Import LiteLLM unless that was done. Raises UpstreamRefused where it is missing or known to carry malware."""
        if self._library is None:
            self._library = await load_library()
            self._library.users.add(self)

    async def send(self, request: UpstreamRequest, take: Take) -> None:
        """One request to the provider. Raises UpstreamError; what ``take`` raises goes through as it is."""
        await self.load()
        assert self._library is not None
        attempt = _Attempt(self._library.litellm, self._provider, self.secrets)
        arguments = self._arguments(self._library, request) | {"logger_fn": attempt.mark_dialled}
        if request.operation is Operation.EMBEDDINGS:
            answer = await attempt.embed(arguments)
            raw = embeddings_json(answer, request.model, encoding_format=request.body.get("encoding_format"))
            return await take(raw)
        answer = await attempt.complete(arguments)
        if not request.stream:
            return await take(completion_json(answer, request.model))
        try:
            await attempt.relay(answer, Events(request.model), take)
        finally:
            await answer.aclose()  # a stream that is merely left goes on generating

    async def aclose(self) -> None:
        """Let go; the last upstream to do so closes LiteLLM's clients, which all of them share."""
        library, self._library = self._library, None
        if library is None:
            return
        library.users.discard(self)
        if not library.users:
            await library.close()

    def _arguments(self, library: Library, request: UpstreamRequest) -> dict[str, Any]:
        arguments = openai_arguments(request.body, request.operation)
        embeds = request.operation is Operation.EMBEDDINGS
        if self._speaks_openai(library):
            arguments["allowed_openai_params"] = sorted(arguments)
        elif embeds:
            arguments.pop("user", None)
        else:
            arguments = fitted(arguments, self._supported(library, request), self._provider) | {"drop_params": True}
        if embeds:
            return arguments | self._own_arguments(library, request)
        if self._provider == "anthropic" or "claude" in request.model:
            known = library.litellm.model_cost.get(request.model) or {}
            arguments = with_output_cap(arguments, known.get("max_output_tokens"))
        if request.stream:
            arguments |= {"stream": True, **_stream_options(request)}
        # Without the last one LiteLLM looks at tools for MCP servers that it would call itself.
        return arguments | self._own_arguments(library, request) | {"_skip_mcp_handler": True}

    def _own_arguments(self, library: Library, request: UpstreamRequest) -> dict[str, Any]:
        """LiteLLM's own arguments: all of them ours, none the client's."""
        far_s = TIMEOUT_CALLS * self._limits.call_s
        arguments: dict[str, Any] = {
            "model": f"{self._provider}/{request.model.removeprefix(f'{self._provider}/')}",
            "max_retries": 0,
            "num_retries": 0,
            "timeout": library.timeout(far_s, connect=min(far_s, self._settings.connect_s)),
            "extra_headers": {**request.headers, CALL_ID_HEADER: request.call_id, **self._headers},
            "no-log": True,
        }
        if self._key is not None:
            arguments["api_key"] = self._key
        if self._settings.base_url:
            arguments["api_base"] = self._settings.base_url.rstrip("/").removesuffix(URL_TAIL.get(self._provider, ""))
        return arguments

    def _speaks_openai(self, library: Library) -> bool:
        return self._provider in OPENAI_PROTOCOL or self._provider in library.litellm.openai_compatible_providers

    def _supported(self, library: Library, request: UpstreamRequest) -> list[str]:
        known = library.litellm.get_supported_openai_params(model=request.model, custom_llm_provider=self._provider)
        return known or []


class _Attempt:
    """One request on its way: whatever LiteLLM raises comes out as an UpstreamError, and says whether anything was sent."""

    def __init__(self, litellm: Any, provider: str, secrets: tuple[str, ...]) -> None:
        self._litellm = litellm
        self._provider = provider
        self._secrets = secrets
        self._dialled = False

    def mark_dialled(self, _: object) -> None:
        self._dialled = True

    async def complete(self, arguments: dict[str, Any]) -> Any:
        try:
            return await self._litellm.acompletion(**arguments)
        except Exception as fault:
            raise self._error(fault) from None

    async def embed(self, arguments: dict[str, Any]) -> Any:
        try:
            return await self._litellm.aembedding(**arguments)
        except Exception as fault:
            raise self._error(fault) from None

    async def relay(self, answer: Any, events: Events, take: Take) -> None:
        """Send the stream on, event by event. Raises UpstreamUnavailable where it ends before the provider finished."""
        while (chunk := await self._next(answer)) is not None:
            events.count(answer.chunks)
            # LiteLLM keeps every chunk, to rebuild the whole answer at the end on a thread: 109 ms for 1,000 of them.
            answer.chunks.clear()
            if any(choice.finish_reason for choice in chunk.choices or ()) and not _finished(answer):
                raise UpstreamUnavailable("the stream ended before the answer was complete")
            event = events.of(chunk)
            if event is not None:
                await take(event)
        events.count(answer.chunks)
        usage = events.usage()
        if usage is not None:
            await take(usage)
        await take(DONE)

    async def _next(self, answer: Any) -> Any:
        try:
            return await anext(answer, None)
        except Exception as fault:
            raise self._error(fault) from None

    def _error(self, fault: Exception) -> UpstreamError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None  # LiteLLM swallowed it in one of its hooks
        return translated(fault, Where(provider=self._provider, secrets=self._secrets, dialled=self._dialled))


def _finished(answer: Any) -> bool:
    """Whether the provider gave a reason for the end: for a stream that was cut LiteLLM makes up a "stop"."""
    return bool(answer.received_finish_reason or answer.intermittent_finish_reason)


def _stream_options(request: UpstreamRequest) -> dict[str, Any]:
    """Asked of OpenAI-like servers, which send usage only then; the others send it anyway and LiteLLM leaves it to us."""
    options = request.body.get("stream_options")
    wanted = isinstance(options, Mapping) and options.get("include_usage") is True
    return {"stream_options": {"include_usage": True}} if wanted else {}
