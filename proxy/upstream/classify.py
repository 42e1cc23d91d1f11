"""What a provider's error means: status, headers and body to one of our UpstreamErrors, with every secret taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from proxy.dialect.body import NotJson, decode
from proxy.errors import (
    CONTEXT_EXCEEDED,
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from proxy.redaction import redact
from proxy.upstream.providers import display_of

RETRY_AFTER_S_MAX = 3600.0
MESSAGE_CHARS_MAX = 2_000
DETAIL_DEPTH_MAX = 8
WORD_CHARS_MAX = 200
BODY_BYTES_MAX = 64 * 1024

QUOTA_EXHAUSTED = "upstream_quota_exhausted"
ANSWER_TOO_LARGE = "answer_too_large"  # asked again it would be as large

_CONTEXT_WORDS = ("maximum context length", "context window", "prompt is too long", "exceeds the context")
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_QUOTA_WORDS = ("credit balance is too low", "exceeded your current quota", "insufficient balance")
_MODEL_CODES = frozenset({"model_not_found", "model_not_available", "deploymentnotfound"})
_KEY_CODES = frozenset({"invalid_api_key", "api_key_invalid", "authentication_error"})
_KEY_WORDS = ("api key not valid", "invalid api key", "incorrect api key")

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 529,
}

_WORDS = frozenset({"type", "code", "param"})


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, provider: str, secrets: Iterable[str] = ()
) -> UpstreamError:
    """The error that an HTTP answer other than 200 means. Header names: lower case, or a case-insensitive mapping."""
    detail = _clean(error_object(body), tuple(secrets))
    return _classified(status, detail, provider=provider, retry_after_s=retry_after_s(headers))


def classify_object(error: Mapping[str, Any], *, provider: str, secrets: Iterable[str] = ()) -> UpstreamError:
    """The error that an ``error`` object in a 200 or in a stream means; its status is read from its code or type."""
    return _classified(_status_of(error), _clean(error, tuple(secrets)), provider=provider, retry_after_s=None)


def error_object(body: bytes) -> dict[str, Any] | None:
    """The OpenAI-shaped ``error`` in a body, made of what other servers send where it can be; None: the body has none."""
    try:
        found = decode(body)
    except NotJson:
        return None
    if isinstance(found, list) and found:
        found = found[0]  # Gemini's compatible endpoint wraps its error in a list
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {"message": error, "type": None, "param": None, "code": None}
    if found.get("object") == "error" or ("message" in found and "choices" not in found and "data" not in found):
        return {"message": None, "type": None, "param": None, "code": None, **found}  # vLLM and others: not wrapped
    if "detail" in found and "choices" not in found:
        return {"message": str(found["detail"]), "type": None, "param": None, "code": None}  # FastAPI
    return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the provider asks us to wait, in seconds, at most RETRY_AFTER_S_MAX; None: it does not say, or junk.

    ``retry-after-ms`` (OpenAI, Azure) before ``retry-after`` in seconds or as an HTTP date (RFC 9110 §10.2.3).
    """
    in_ms = _number(headers.get("retry-after-ms"))
    if in_ms is not None:
        return min(in_ms / 1000, RETRY_AFTER_S_MAX)
    asked = headers.get("retry-after")
    found = _number(asked)
    if found is None and asked is not None:
        found = _until(asked)
    return None if found is None else min(found, RETRY_AFTER_S_MAX)


def _number(text: str | None) -> float | None:
    try:
        found = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return found if isfinite(found) and found >= 0 else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _classified(
    status: int | None, detail: dict[str, Any] | None, *, provider: str, retry_after_s: float | None
) -> UpstreamError:
    said = str((detail or {}).get("message") or "")
    message = f"{display_of(provider)} API error: {status if status is not None else 'no status'}"
    if said:
        message = f"{message} - {said[:MESSAGE_CHARS_MAX]}"
    kind, reason = _kind(status, detail or {}, said.lower())
    error = kind(message, status=status, detail=detail, retry_after_s=retry_after_s, reason=reason)
    if reason == CONTEXT_EXCEEDED:
        error.movable = True  # a model with a larger window can answer it; this one never will
    return error


def _kind(status: int | None, error: Mapping[str, Any], said: str) -> tuple[type[UpstreamError], str | None]:
    """Which error, and its reason where the class's own does not say enough."""
    codes = {str(error.get(name) or "").lower() for name in ("code", "type", "status")}
    for means, kind, reason in _BY_WORDS:
        if means(status, codes, said):
            return kind, reason
    return _BY_STATUS.get(status or 0, _by_hundreds(status or 0)), None


def _by_hundreds(status: int) -> type[UpstreamError]:
    return UpstreamRefused if 300 <= status < 400 else UpstreamUnavailable


def _context(status: int | None, codes: set[str], said: str) -> bool:
    return status in (400, 413, 422) and (CONTEXT_EXCEEDED in codes or any(words in said for words in _CONTEXT_WORDS))


def _quota(status: int | None, codes: set[str], said: str) -> bool:
    by_code = status in (400, 402, 403, 429) and bool(codes & _QUOTA_CODES)
    return status == 402 or by_code or (status in (400, 429) and any(words in said for words in _QUOTA_WORDS))


def _key(status: int | None, codes: set[str], said: str) -> bool:
    return status == 400 and (bool(codes & _KEY_CODES) or any(words in said for words in _KEY_WORDS))


def _model(status: int | None, codes: set[str], said: str) -> bool:
    """The deployment is wrong, not the request: no such model there, or no such route (no error object at all)."""
    if status in (400, 403) and codes & _MODEL_CODES:
        return True
    return status == 404 and (bool(codes & _MODEL_CODES) or not said or "model" in said or "deployment" in said)


_Means = Callable[[int | None, set[str], str], bool]
_BY_WORDS: tuple[tuple[_Means, type[UpstreamError], str | None], ...] = (
    (_context, UpstreamRejected, CONTEXT_EXCEEDED),
    (_quota, UpstreamRefused, QUOTA_EXHAUSTED),
    (_key, UpstreamRefused, None),
    (_model, UpstreamRefused, "model_not_found"),
)

_BY_STATUS: Mapping[int, type[UpstreamError]] = {
    400: UpstreamRejected,
    401: UpstreamRefused,
    403: UpstreamRefused,
    404: UpstreamRejected,
    413: UpstreamRejected,
    415: UpstreamRejected,
    422: UpstreamRejected,
    429: UpstreamLimited,
}


def _status_of(error: Mapping[str, Any]) -> int | None:
    for name in ("status", "status_code", "code"):
        value = error.get(name)
        if isinstance(value, int) and 300 <= value < 600:
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit() and 300 <= int(value[:4]) < 600:
            return int(value[:4])
    named = (str(error.get(name) or "").lower() for name in ("type", "code"))
    return next((_STATUS_OF_TYPE[name] for name in named if name in _STATUS_OF_TYPE), None)


def _clean(error: Mapping[str, Any] | None, secrets: tuple[str, ...]) -> dict[str, Any] | None:
    """The error with its texts redacted and its depth bounded, in values that can be written as JSON anywhere."""
    if error is None:
        return None
    cleaned = _clean_value(dict(error), secrets, DETAIL_DEPTH_MAX)
    return {name: _word(value) if name in _WORDS else value for name, value in cleaned.items()}


def _word(value: object) -> object:
    """A code or a type as clients expect it: a word, or the number some servers send."""
    return value[:WORD_CHARS_MAX] if isinstance(value, str) else value if type(value) is int else None


def _clean_value(value: Any, secrets: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        return redact(value, secrets).encode(errors="replace").decode()  # half a surrogate pair is not UTF-8
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        if not depth:
            return None
        return {
            _clean_value(str(name), secrets, 0): _clean_value(inner, secrets, depth - 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_clean_value(inner, secrets, depth - 1) for inner in value] if depth else None
    return value
