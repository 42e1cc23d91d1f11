"""Response headers of ours, and request headers as text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from proxy.call import Call, Head, Outcome, Receipt
from proxy.errors import BadRequest

Headers = list[tuple[bytes, bytes]]

_ONCE = frozenset(
    (
        b"host",
        b"content-length",
        b"authorization",
        b"x-api-key",
        b"x-orch-user",
        b"x-orch-action",
        b"x-orch-auto-downgrade",
        b"x-orch-timeout-s",
    )
)


def request_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The request's headers by lower-case name; of one that comes twice, the first."""
    headers: dict[str, str] = {}
    for name, value in raw:
        headers.setdefault(name.decode("latin-1"), _text(value))
    return headers


def check_once(raw: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises BadRequest where a header that is acted on comes twice: whoever reads the other one is misled."""
    seen: set[bytes] = set()
    for name, _ in raw:
        if name in _ONCE and name in seen:
            shown = name.decode("latin-1")
            raise BadRequest(f"The request has more than one {shown} header. Send one.", param=shown)
        seen.add(name)


def answer_headers(call: Call, head: Head) -> Headers:
    """Who answers and what it took so far; leaves with the first content."""
    headers = [
        (b"x-orch-model", _bytes(head.model)),
        *policy_headers(call),
        (b"x-orch-overhead-ms", b"%.2f" % overhead_ms(call)),
    ]
    if head.downgraded_from is not None:
        headers.append((b"x-orch-downgraded-from", _bytes(head.downgraded_from)))
    return headers


def policy_headers(call: Call) -> Headers:
    """What is known however the call ends: the attempts so far, the policies it ran under."""
    return [
        (b"x-orch-attempts", b"%d" % len(call.trace.attempts)),
        (b"x-orch-policy", call.ports.policy_version.encode()),
    ]


def receipt_headers(receipt: Receipt | None, outcome: Outcome | None) -> Headers:
    """What the call was charged and what is left."""
    headers: Headers = []
    if receipt is not None:
        headers.append((b"x-orch-energy-charged", b"%d" % receipt.charged))
        headers.append((b"x-orch-energy-remaining", b"%d" % receipt.remaining))
    if outcome is not None and outcome.cost_nanousd is not None:
        headers.append((b"x-orch-cost-usd", usd(outcome.cost_nanousd).encode()))
    return headers


def overhead_ms(call: Call) -> float:
    """Milliseconds spent so far that were neither an upstream's nor a backoff's."""
    now = time.monotonic()
    upstream_s = sum((attempt.ended_at or now) - attempt.started_at for attempt in call.trace.attempts)
    return max(0.0, now - call.trace.received_at - upstream_s - call.trace.waited_s) * 1000


def usd(nanousd: int) -> str:
    """Nano-dollars as an exact decimal of dollars: 1500 -> ``0.0000015``."""
    whole, rest = divmod(nanousd, 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)


def encode(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), _bytes(value)) for name, value in headers.items()]


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace").replace(b"\r", b"?").replace(b"\n", b"?")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
