"""The response headers, as OpenAPI describes them; docs/api.md tells more of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

_TEXT = MappingProxyType({"type": "string"})
_WHOLE = MappingProxyType({"type": "integer", "minimum": 0})


def _header(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "schema": dict(schema)}


REQUEST_ID = ("x-request-id",)

HEADERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "x-request-id": {**_header("The id of the request and of its call.", _TEXT), "required": True},
        "x-orch-model": _header("The model that answers.", _TEXT),
        "x-orch-downgraded-from": _header("The model asked for, where the balance did not pay it.", _TEXT),
        "x-orch-attempts": _header("Upstream requests made so far.", _WHOLE),
        "x-orch-policy": _header("The version of the policies the call ran under.", _TEXT),
        "x-orch-overhead-ms": _header("Milliseconds so far that were not the upstream's.", {"type": "number"}),
        "x-orch-energy-charged": _header("Points charged.", _WHOLE),
        "x-orch-energy-remaining": _header("Points the payer has left to use.", {"type": "integer"}),
        "x-orch-cost-usd": _header("What the provider charges, as an exact decimal.", _TEXT),
        "x-should-retry": _header("false: a retry by the SDK cannot help.", {"enum": ["false"]}),
        "retry-after": _header("Seconds to wait.", _WHOLE),
        "www-authenticate": _header("How to send a key.", _TEXT),
    }
)

ERROR_HEADERS: Mapping[int, Sequence[str]] = MappingProxyType(
    {
        400: ("x-should-retry",),
        401: ("www-authenticate",),
        402: ("x-should-retry",),
        429: ("x-should-retry", "retry-after"),
        502: ("x-should-retry", "retry-after"),
        503: ("x-should-retry", "retry-after"),
        504: ("x-should-retry",),
    }
)
"""Those of an error of this status."""
