"""Errors to bytes: the one table from our errors to HTTP statuses and OpenAI's error shape.

Source of the shape: https://platform.openai.com/docs/guides/error-codes — ``{"error": {message, type, param, code}}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.dialect.body import dump
from proxy.errors import (
    BadRequest,
    BodyTooLarge,
    Conflict,
    DeadlineExceeded,
    EnergyExhausted,
    ExpectationFailed,
    Forbidden,
    HeadTooLarge,
    JournalUnavailable,
    NotFound,
    OrchError,
    Overloaded,
    RequestTimeout,
    TargetTooLong,
    Unauthenticated,
    UnsupportedMedia,
    UpstreamBroke,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongMethod,
)

RETRY_AFTER_S = 1
"""What we ask a client to wait when it is us who cannot serve just now."""

_TABLE: Mapping[type[OrchError], tuple[int, str]] = {
    BadRequest: (400, "invalid_request_error"),
    Unauthenticated: (401, "invalid_request_error"),
    Forbidden: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    WrongMethod: (405, "invalid_request_error"),
    RequestTimeout: (408, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    BodyTooLarge: (413, "invalid_request_error"),
    TargetTooLong: (414, "invalid_request_error"),
    UnsupportedMedia: (415, "invalid_request_error"),
    ExpectationFailed: (417, "invalid_request_error"),
    HeadTooLarge: (431, "invalid_request_error"),
    EnergyExhausted: (429, "insufficient_quota"),
    UpstreamRejected: (400, "invalid_request_error"),
    UpstreamRefused: (502, "upstream_error"),
    UpstreamLimited: (429, "rate_limit_error"),
    UpstreamUnavailable: (502, "upstream_error"),
    UpstreamTimeout: (504, "upstream_error"),
    UpstreamBroke: (502, "upstream_error"),
    DeadlineExceeded: (504, "timeout_error"),
    JournalUnavailable: (503, "service_unavailable"),
    Overloaded: (503, "service_unavailable"),
}


_OF_A_BUG = (500, "api_error")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as HTTP: its status, its headers and the value of ``error`` in the body."""

    status: int
    error: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return dump({"error": self.error})

    @property
    def event(self) -> bytes:
        """The same error as the last event of a stream."""
        return b"data: " + self.body + b"\n\n"


def status_of(kind: type[OrchError]) -> int:
    """The status of such an error, where it says no other itself."""
    return _TABLE.get(kind, _OF_A_BUG)[0]


def failure(error: OrchError, *, attempts: int = 0) -> Failure:
    """How an error looks to a client; ``attempts`` is how many upstream requests were made for it."""
    status, kind = _TABLE.get(type(error), _OF_A_BUG)
    shape = {"message": error.message, "type": kind, "param": getattr(error, "param", None), "code": error.reason}
    headers: dict[str, str] = {}
    match error:
        case EnergyExhausted():
            status = error.status
            headers["x-should-retry"] = "false"
        case UpstreamRejected():
            status = error.status if error.status is not None and 400 <= error.status < 500 else status
            # All that the provider says of it, such as Azure's innererror; but the message names who speaks.
            shape |= {name: value for name, value in (error.detail or {}).items() if name != "message"}
        case WrongMethod():
            headers["allow"] = ", ".join(error.allow)
        case JournalUnavailable() | Overloaded():
            headers["retry-after"] = str(RETRY_AFTER_S)
        case UpstreamLimited() | UpstreamUnavailable() if error.retry_after_s is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after_s))
        case Unauthenticated():
            headers["www-authenticate"] = "Bearer"
    if attempts:
        headers["x-should-retry"] = "false"  # we have retried already: SDKs would multiply our attempts by three
    return Failure(status, shape, headers)
