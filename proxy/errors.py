"""What can go wrong, by who can mend it. Only ``edge/`` makes HTTP of these; ``reason`` is the stable machine-readable code.

::

    OrchError
    ├── CallerError               the caller can mend it: nothing went upstream, nothing is charged
    │   ├── BadRequest            malformed, wrong type, out of a cap; names the parameter
    │   ├── Unauthenticated       no key, a wrong one, a revoked one
    │   ├── Forbidden             this key may not
    │   ├── NotFound              no such route, model, call
    │   ├── Conflict              it exists already, and is another
    │   ├── WrongMethod           the route exists; this method of it does not
    │   ├── BodyTooLarge          over the named cap
    │   ├── UnsupportedMedia      a compressed body
    │   ├── RequestTimeout        the request did not arrive in time
    │   ├── TargetTooLong         a path and query over the named cap
    │   ├── HeadTooLarge          headers over a named cap
    │   ├── ExpectationFailed     an Expect header that is not 100-continue
    │   └── EnergyExhausted       the balance does not pay the cheapest offer allowed
    ├── UpstreamError             what an attempt came to
    │   ├── UpstreamRejected      the provider says the request itself is wrong: its words are relayed, nobody retries
    │   ├── UpstreamRefused       this deployment will not (key, permission, unknown model, quota): move on, do not repeat
    │   ├── UpstreamLimited       rate limited: move on, repeat after a longer wait
    │   ├── UpstreamUnavailable   refused, reset, 5xx, not parseable: move on, repeat
    │   ├── UpstreamTimeout       fell silent: move on, repeat
    │   └── UpstreamBroke         ended or fell silent after content, without completing: nobody retries
    ├── DeadlineExceeded          the call's own deadline
    ├── JournalUnavailable        the store does not answer: fail closed
    ├── Overloaded                a named limit of ours is reached
    └── ConfigError               the operator's files: a list of problems with file:line:column
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrchError(Exception):
    """Every error of ours. ``reason`` is a stable word for records, metrics and the ``code`` clients see."""

    reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class CallerError(OrchError):
    reason = "invalid_request"

    def __init__(self, message: str, *, reason: str | None = None, param: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.param = param


class BadRequest(CallerError):
    pass


class Unauthenticated(CallerError):
    reason = "invalid_api_key"


class Forbidden(CallerError):
    reason = "permission_denied"


class NotFound(CallerError):
    reason = "not_found"


class Conflict(CallerError):
    reason = "conflict"


class WrongMethod(CallerError):
    reason = "method_not_allowed"

    def __init__(self, message: str, *, allow: Sequence[str]) -> None:
        super().__init__(message)
        self.allow = tuple(allow)


class BodyTooLarge(CallerError):
    reason = "request_too_large"


class UnsupportedMedia(CallerError):
    reason = "unsupported_media_type"


class RequestTimeout(CallerError):
    reason = "request_timeout"


class TargetTooLong(CallerError):
    reason = "request_target_too_long"


class HeadTooLarge(CallerError):
    reason = "request_head_too_large"


class ExpectationFailed(CallerError):
    reason = "expectation_failed"


class EnergyExhausted(CallerError):
    """The balance does not pay the cheapest offer allowed. ``required`` and ``available`` are points; ``status`` is 429 or 402."""

    reason = "insufficient_energy"

    def __init__(self, *, required: int, available: int, status: int = 429) -> None:
        super().__init__(f"Insufficient energy. Required: {required}, Available: {available}")
        self.required = required
        self.available = available
        self.status = status


class UpstreamError(OrchError):
    """What an attempt came to.

    ``status`` is the provider's HTTP status (None: no answer came), ``detail`` its OpenAI-shaped ``error`` object where it
    sent one, ``retry_after_s`` its wish. ``movable``: another deployment or model may answer. ``repeatable``: so may this one.
    """

    reason = "upstream_error"
    movable = True
    repeatable = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: dict[str, object] | None = None,
        retry_after_s: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


CONTEXT_EXCEEDED = "context_length_exceeded"
"""Reason of an UpstreamRejected that a model with a larger context window may answer; OpenAI's own code."""


class UpstreamRejected(UpstreamError):
    reason = "upstream_rejected"
    movable = False
    repeatable = False


class UpstreamRefused(UpstreamError):
    reason = "upstream_refused"
    repeatable = False


class UpstreamLimited(UpstreamError):
    reason = "upstream_rate_limited"


class UpstreamUnavailable(UpstreamError):
    reason = "upstream_unavailable"


class UpstreamTimeout(UpstreamError):
    reason = "upstream_timeout"


class UpstreamBroke(UpstreamError):
    reason = "upstream_broke"
    movable = False
    repeatable = False


class DeadlineExceeded(OrchError):
    reason = "deadline_exceeded"


class JournalUnavailable(OrchError):
    reason = "journal_unavailable"


class Overloaded(OrchError):
    reason = "overloaded"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the operator's files; prints as ``file:line:column path: what, and what to do``.

    ``line`` 0: it is about the file as a whole, or about a variable of the environment.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else f"{self.file}:"
        return f"{where} {self.path}: {self.message}" if self.path else f"{where} {self.message}"


class ConfigError(OrchError):
    """All problems found, at once."""

    reason = "invalid_configuration"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
