"""LiteLLM's exceptions to our UpstreamErrors: one table, read from the provider's own answer wherever it is still to be had.

LiteLLM's classes hide what the provider said (a 529 becomes a 500, a reset connection too), its texts carry tracebacks,
links and sometimes keys. The provider's exception is found behind them, and its status, headers and body go through
the same ``classify`` as everybody's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.errors import UpstreamError, UpstreamRefused, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from proxy.redaction import redact
from proxy.upstream.classify import classify
from proxy.upstream.providers import display_of

CHAIN_MAX = 12
TEXT_CHARS_MAX = 500

# Of LiteLLM's classes, those that come without a provider's answer; others go by their status.
BY_CLASS: Mapping[str, type[UpstreamError]] = {
    "Timeout": UpstreamTimeout,
    "APITimeoutError": UpstreamTimeout,
    "UnsupportedParamsError": UpstreamRejected,
    "ImageFetchError": UpstreamRejected,
}

# What LiteLLM says for lost connections, unreadable bodies and errors in streams: nobody's status.
STATUSES_INVENTED = (422, 500)

_HTTP_STATUS_ERRORS = ("HTTPStatusError", "MaskedHTTPStatusError")
_TRANSPORTS = ("httpx", "httpcore", "aiohttp", "openai", "botocore", "google")
_OPERATORS = re.compile(r"(?i)api.?key|credential|api_base|environment variable|not provided")
_NOISE = re.compile(
    r"Traceback \(most recent|This looks like a bug|Handle with `| Original exception:"
    r"| The proxy could not|File (?:it with|an issue)|, Original Response:"
)
_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout)(?: -|:)\s*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What is known around the fault: whose it is, what must not be shown, and whether a request had gone out."""

    provider: str
    secrets: tuple[str, ...]
    dialled: bool


def translated(fault: Exception, where: Where) -> UpstreamError:
    """The UpstreamError that an exception out of LiteLLM means; nothing secret is left in it."""
    chain = tuple(_chain(fault))
    answer = next((found for found in chain if _is_of_provider(found)), None)
    if answer is not None and _is_http(answer):
        body = _body(answer)
        return classify(
            answer.status_code, _headers(fault, answer), body, provider=where.provider, secrets=where.secrets
        )
    return _without_answer(fault, chain, where)


def _without_answer(fault: Exception, chain: tuple[Any, ...], where: Where) -> UpstreamError:
    kind = next((BY_CLASS[name] for name in (type(found).__name__ for found in chain) if name in BY_CLASS), None)
    text = _said(chain, where)
    message = f"{display_of(where.provider)} via LiteLLM: {text}"
    if kind is UpstreamTimeout:
        return UpstreamTimeout(message)
    if kind is UpstreamRejected:
        return UpstreamRejected(message, status=400, detail=_detail(message))
    status = next((status for status in map(_status, chain) if status), None)
    if status is not None:
        body = orjson.dumps({"error": {**_detail(text), "type": None}})
        return classify(status, {}, body, provider=where.provider, secrets=where.secrets)
    if not where.dialled and _OPERATORS.search(text):
        return UpstreamRefused(message)
    if where.dialled or any(_is_transport(found) for found in chain):
        return UpstreamUnavailable(message)
    # LiteLLM stumbled over the request itself: nothing went out, and asking again or elsewhere blames the wrong one.
    return UpstreamRejected(message, status=400, detail=_detail(message))


def _chain(fault: BaseException) -> Iterator[Any]:
    """The exception and what it came from, outermost first."""
    found: BaseException | None = fault
    seen: set[int] = set()
    while found is not None and id(found) not in seen and len(seen) < CHAIN_MAX:
        seen.add(id(found))
        yield found
        found = getattr(found, "original_exception", None) or found.__cause__ or found.__context__


def _is_of_provider(found: Any) -> bool:
    """One of LiteLLM's per-provider classes, or of the OpenAI SDK's: their status and text are the provider's own."""
    return type(found).__module__.startswith(("litellm.llms.", "openai")) and _status_of(found) is not None


def _is_http(answer: Any) -> bool:
    """Whether an HTTP answer is behind it: LiteLLM gives lost connections and unreadable bodies a status of its own."""
    return any(type(found).__name__ in _HTTP_STATUS_ERRORS for found in _chain(answer))


def _is_transport(found: Any) -> bool:
    return type(found).__module__.startswith(_TRANSPORTS)


def _status_of(found: Any) -> int | None:
    status = getattr(found, "status_code", None)
    return status if isinstance(status, int) and 300 <= status < 600 else None


def _status(found: Any) -> int | None:
    """A status that means something without an HTTP answer: an error in a stream, or LiteLLM's own refusal."""
    status = _status_of(found)
    return None if status in STATUSES_INVENTED else status


def _headers(fault: Any, answer: Any) -> Mapping[str, str]:
    for source in (getattr(fault, "litellm_response_headers", None), getattr(answer, "headers", None)):
        if source:
            return {str(name).lower(): str(value) for name, value in dict(source).items()}
    response = getattr(answer, "response", None)
    return {name.lower(): value for name, value in response.headers.items()} if response is not None else {}


def _body(answer: Any) -> bytes:
    """The provider's body: as the SDK parsed it, or LiteLLM's copy of the text (at times the repr of bytes)."""
    parsed = getattr(answer, "body", None)
    if isinstance(parsed, dict):
        return orjson.dumps(parsed if "error" in parsed else {"error": parsed}, default=str)
    text = str(getattr(answer, "message", "") or answer)
    if text[:2] in ("b'", 'b"'):
        return _unquoted(text)
    return text.encode(errors="replace")


def _unquoted(text: str) -> bytes:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text.encode(errors="replace")
    return value if isinstance(value, bytes) else text.encode(errors="replace")


def _said(chain: tuple[Any, ...], where: Where) -> str:
    """The first line of what it says, without LiteLLM's prefixes, tracebacks, links and anything secret."""
    spoken = next((found for found in chain if _is_of_provider(found)), chain[0])
    text = _NOISE.split(str(getattr(spoken, "message", "") or spoken), maxsplit=1)[0]
    text = _PREFIX.sub("", text.strip()).split("\n", 1)[0].strip()
    return redact(text, where.secrets)[:TEXT_CHARS_MAX] or type(spoken).__name__


def _detail(message: str) -> dict[str, object]:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None}
