"""The policies an operator can put into the chain: one file each, registered here."""

from typing import Annotated

from pydantic import Field

from proxy.policy.auth import Auth
from proxy.policy.base import PolicyBase
from proxy.policy.energy import Energy
from proxy.policy.fallback import Fallback
from proxy.policy.order import energy_prices, order_problems, with_recording
from proxy.policy.retry import Retry
from proxy.policy.rewrite import Rewrite
from proxy.policy.timeout import Timeout

AnyPolicy = Annotated[Auth | Rewrite | Energy | Fallback | Retry | Timeout, Field(discriminator="kind")]

__all__ = [
    "AnyPolicy",
    "Auth",
    "Energy",
    "Fallback",
    "PolicyBase",
    "Retry",
    "Rewrite",
    "Timeout",
    "energy_prices",
    "order_problems",
    "with_recording",
]
