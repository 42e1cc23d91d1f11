"""Passthrough: any server that speaks OpenAI's protocol over HTTP; what it answers is handed on as bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

import aiohttp

from proxy import __version__
from proxy.call import Operation
from proxy.config.providers import completed
from proxy.config.settings import Limits, UpstreamSettings
from proxy.dialect.answer import NotAnAnswer, read_answer
from proxy.dialect.body import dump
from proxy.dialect.sse import EventTooLarge, Framer
from proxy.errors import ConfigError, Problem, UpstreamError, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from proxy.redaction import redact
from proxy.upstream.classify import ANSWER_TOO_LARGE, BODY_BYTES_MAX, classify, classify_object, error_object
from proxy.upstream.port import CALL_ID_HEADER, Take, UpstreamRequest
from proxy.upstream.providers import display_of

ERROR_BODY_S = 5.0  # how long the body of an error may take; the status says most of it
SLICE_BYTES = 256 * 1024
DNS_CACHE_S = 60

PATHS: Mapping[Operation, str] = MappingProxyType(
    {Operation.CHAT: "/chat/completions", Operation.EMBEDDINGS: "/embeddings"}
)

# What aiohttp and the system raise, in the order in which it is looked up: the first that fits.
FOREIGN: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (TimeoutError, UpstreamTimeout, "did not take the connection in time"),
    (aiohttp.ClientConnectorDNSError, UpstreamUnavailable, "has a name that does not resolve"),
    (aiohttp.ClientSSLError, UpstreamUnavailable, "failed the TLS handshake"),
    (ssl.SSLError, UpstreamUnavailable, "broke the TLS connection"),
    (aiohttp.ClientConnectorError, UpstreamUnavailable, "refused the connection"),
    (aiohttp.ServerDisconnectedError, UpstreamUnavailable, "closed the connection without an answer"),
    (aiohttp.ClientPayloadError, UpstreamUnavailable, "broke off its answer"),
    (aiohttp.ClientOSError, UpstreamUnavailable, "broke the connection"),
    (aiohttp.ClientError, UpstreamUnavailable, "sent something that is not HTTP"),
    (OSError, UpstreamUnavailable, "broke the connection"),
)


async def open_passthrough(name: str, settings: UpstreamSettings, limits: Limits) -> Passthrough:
    """The upstream called ``name``, with connections of its own. Raises ConfigError when nobody knows its URL."""
    settings = completed(settings, name=name)
    if settings.base_url is None:
        message = "needs a base_url: we know no OpenAI-compatible endpoint of this provider"
        raise ConfigError([Problem("config.yaml", 1, 1, f"upstreams.{name}", message)])
    connector = aiohttp.TCPConnector(limit=settings.connections_max, ttl_dns_cache=DNS_CACHE_S)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # a provider's cookie must not travel from one user's call to another's
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=settings.connect_s, sock_read=None),
        headers=_headers(settings),
        trust_env=False,
        auto_decompress=True,
        raise_for_status=False,
    )
    return Passthrough(
        session,
        base_url=settings.base_url.rstrip("/"),
        provider=settings.provider or name,
        settings=settings,
        limits=limits,
    )


def _headers(settings: UpstreamSettings) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ai-orchestrator/{__version__}",
    }
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    return headers | {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}


class Passthrough:
    """Implements the port Upstream. Cancelling ``send`` closes its connection at once."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        provider: str,
        settings: UpstreamSettings,
        limits: Limits,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._provider = provider
        self._display = display_of(provider)
        self._stream_usage = settings.stream_usage
        self._limits = limits
        keys = [settings.api_key] if settings.api_key is not None else []
        self.secrets = tuple(secret.get_secret_value() for secret in [*keys, *settings.headers.values()])

    @property
    def stream_usage(self) -> bool:
        return self._stream_usage

    async def send(self, request: UpstreamRequest, take: Take) -> None:
        response = await self._dial(request)
        try:
            await self._hand_on(request, response, take)
        finally:
            # Read to its end, the connection is back in the pool and this does nothing; else the provider must stop now.
            response.close()

    async def aclose(self) -> None:
        await self._session.close()

    async def _dial(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        body = dump(request.body)
        headers = {**request.headers, CALL_ID_HEADER: request.call_id, "content-length": str(len(body))}
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        with self._translated():
            return await self._session.post(
                self._base_url + PATHS[request.operation],
                data=body if len(body) <= SLICE_BYTES else _slices(body),
                headers=headers,
                allow_redirects=False,
            )

    async def _hand_on(self, request: UpstreamRequest, response: aiohttp.ClientResponse, take: Take) -> None:
        if 300 <= response.status < 400:
            raise UpstreamRefused(
                f"{self._display} redirects: its base_url is not where it answers", status=response.status
            )
        if response.status != 200:
            body = await self._error_body(response)
            raise classify(response.status, response.headers, body, provider=self._provider, secrets=self.secrets)
        if not request.stream:
            return await take(await self._whole(response))
        await self._not_a_stream(response)
        return await self._events(response, take)

    async def _events(self, response: aiohttp.ClientResponse, take: Take) -> None:
        framer = Framer(self._limits.sse_event_bytes_max)
        while received := await self._read(response):
            for event in self._framed(framer, received):
                await take(event)
        rest = framer.rest().rstrip(b"\r\n")
        if rest:
            await take(
                rest + b"\n\n"
            )  # SDKs take a last event that lacks its blank line, and more may be sent behind it

    def _framed(self, framer: Framer, received: bytes) -> list[bytes]:
        try:
            return framer.feed(received)
        except EventTooLarge as error:
            raise UpstreamUnavailable(f"{self._display}: {error}") from None

    async def _not_a_stream(self, response: aiohttp.ClientResponse) -> None:
        """Raise for an answer to a streaming request that says it is JSON or a page; anything else is tried as events."""
        if response.content_type == "text/html":
            raise UpstreamUnavailable(f"{self._display} answered with a page of HTML", status=200)
        if response.content_type != "application/json":
            return
        body = await self._whole(response)
        error = error_object(body)
        if error is not None:
            raise classify_object(error, provider=self._provider, secrets=self.secrets)
        try:
            read_answer(body, Operation.CHAT)
        except NotAnAnswer as why:
            raise UpstreamUnavailable(f"{self._display} sent JSON that is not an answer: {why}", status=200) from None
        raise UpstreamUnavailable(f"{self._display} answered whole where a stream was asked for", status=200)

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        while received := await self._read(response):
            body += received
            if len(body) > self._limits.answer_bytes_max:
                most = self._limits.answer_bytes_max
                message = f"{self._display} sent an answer of more than {most} bytes (limits.answer_bytes_max)"
                raise UpstreamRefused(message, status=200, reason=ANSWER_TOO_LARGE)
        return bytes(body)

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        """As much of it as comes in time and before the connection breaks, at most BODY_BYTES_MAX."""
        body = bytearray()
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(ERROR_BODY_S):
                while len(body) < BODY_BYTES_MAX and (received := await self._read(response)):
                    body += received
        return bytes(body[:BODY_BYTES_MAX])

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """What has come by now, at least a byte; empty at the end."""
        with self._translated():
            return await response.content.readany()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Foreign exceptions become ours; only around our own I/O, never around ``take``."""
        try:
            yield
        except (aiohttp.ClientError, OSError) as error:
            raise self._ours(error) from None  # the cause's text can carry the URL

    def _ours(self, error: Exception) -> UpstreamError:
        for foreign, ours, did in FOREIGN:
            if isinstance(error, foreign):
                return ours(redact(f"{self._display} {did} ({type(error).__name__})", self.secrets))
        raise AssertionError(f"not in the table: {type(error).__name__}")


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """The body in pieces: one write of a large body would hold the loop."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]
