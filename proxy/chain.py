"""The chain: policies folded around the terminal handler, outermost first.

::

    edge ─► auth ─► rewrite ─► energy ─► fallback ─► retry ─► timeout ─► terminal ─► upstream
                               │ hold                │ loop   │ per attempt
                               └── settle or void ◄──┴────────┴── Outcome, or an error, or a cancellation

``await call_next(call)`` spans the whole answer, streams too: ``async with`` around it is exactly as long as the call.
The answer itself leaves through ``call.reply``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from proxy.call import Call, Handler, Outcome


class Policy(Protocol):
    """A step of the chain: its fields are its YAML settings, its ``__call__`` is its behaviour, it holds no state."""

    async def __call__(self, call: Call, call_next: Handler, /) -> Outcome: ...


def chain(policies: Sequence[Policy], terminal: Handler) -> Handler:
    """Fold the policies, in YAML order, around the terminal handler."""
    handler = terminal
    for policy in reversed(policies):
        handler = _link(policy, handler)
    return handler


def _link(policy: Policy, call_next: Handler) -> Handler:
    def handler(call: Call) -> Awaitable[Outcome]:
        return policy(call, call_next)

    return handler
