"""What the guard learned of a request: its id, its caller, its headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from proxy.call import Principal, Trace
from proxy.edge.access import Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A request whose caller is known, and the trace of the call it may become. ``reach`` is set once its route let it in."""

    request_id: str
    principal: Principal
    headers: Mapping[str, str]
    trace: Trace
    reach: Reach | None = None


def context(scope: Scope) -> Context:
    found = known(scope)
    assert found is not None, "this route is behind the guard"
    return found


def reached(scope: Scope) -> Reach:
    """Whose rows the caller may see or change by this route."""
    reach = context(scope).reach
    assert reach is not None, "the route let the caller in"
    return reach


def known(scope: Scope) -> Context | None:
    """The context, once the guard knows who calls."""
    found = scope.get("state", {}).get("context")
    assert found is None or isinstance(found, Context)
    return found


def keep(scope: Scope, found: Context) -> None:
    scope.setdefault("state", {})["context"] = found
