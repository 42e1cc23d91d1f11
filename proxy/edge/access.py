"""Who may ask what, and about whose rows: one table.

The guard enforces it before an endpoint runs. The routes, ``/openapi.json`` and the test that asks every route as everybody are
made from it, so nothing is served that it does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from proxy.call import Principal, Role
from proxy.errors import Forbidden


class Whose(StrEnum):
    """Whose rows a caller may see or change by a route."""

    NOBODYS = "nobody's"  # it shows none
    OWN = "own"
    NAMESPACE = "namespace"
    ALL = "all"


class Door(StrEnum):
    """Which listener serves a route. Without ``admin.listen`` one listener serves them all."""

    MAIN = "main"
    ADMIN = "admin"
    BOTH = "both"


class Keyless(StrEnum):
    """Who may ask without a key."""

    NOBODY = "nobody"
    NEAR = "near"  # whoever is on this machine, unless the operator says otherwise
    ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Rule:
    """One route: ``name`` is its endpoint's and its operation's in ``/openapi.json``; ``who`` may, each about whose rows."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    who: Mapping[Role, Whose]
    keyless: Keyless = Keyless.NOBODY
    door: Door = Door.MAIN


@dataclass(frozen=True, slots=True)
class Reach:
    """The rows a caller may see or change; None: whatever the namespace, whoever the user."""

    namespace: str | None
    user: str | None

    def covers(self, *, namespace: str, user: str) -> bool:
        return self.namespace in (None, namespace) and self.user in (None, user)


_CALLERS = MappingProxyType({Role.USER: Whose.OWN, Role.SERVICE: Whose.NAMESPACE})
_EACH_WHAT_IS_ITS = MappingProxyType({**_CALLERS, Role.ADMIN: Whose.ALL})
_ANY_KEY = MappingProxyType(dict.fromkeys(Role, Whose.NOBODYS))
_OPERATOR = MappingProxyType({Role.ADMIN: Whose.ALL})

ACCESS: Sequence[Rule] = (
    Rule("chat", "POST", "/v1/chat/completions", _CALLERS),
    Rule("embeddings", "POST", "/v1/embeddings", _CALLERS),
    Rule("models", "GET", "/v1/models", _ANY_KEY),
    Rule("model", "GET", "/v1/models/{id:path}", _ANY_KEY),
    Rule("call", "GET", "/v1/calls/{id}", _EACH_WHAT_IS_ITS),
    Rule("energy", "GET", "/v1/energy", _EACH_WHAT_IS_ITS),
    Rule("admin_users", "GET", "/admin/users", _OPERATOR, door=Door.ADMIN),
    Rule("admin_open_user", "POST", "/admin/users", _OPERATOR, door=Door.ADMIN),
    Rule("admin_user", "GET", "/admin/users/show", _OPERATOR, door=Door.ADMIN),
    Rule("admin_grant", "POST", "/admin/users/grants", _OPERATOR, door=Door.ADMIN),
    Rule("admin_history", "GET", "/admin/users/history", _OPERATOR, door=Door.ADMIN),
    Rule("admin_erase_user", "POST", "/admin/users/erase", _OPERATOR, door=Door.ADMIN),
    Rule("admin_keys", "GET", "/admin/keys", _OPERATOR, door=Door.ADMIN),
    Rule("admin_make_key", "POST", "/admin/keys", _OPERATOR, door=Door.ADMIN),
    Rule("admin_revoke_key", "POST", "/admin/keys/revoke", _OPERATOR, door=Door.ADMIN),
    Rule("admin_rotate_key", "POST", "/admin/keys/rotate", _OPERATOR, door=Door.ADMIN),
    Rule("admin_calls", "GET", "/admin/calls", _OPERATOR, door=Door.ADMIN),
    Rule("admin_call", "GET", "/admin/calls/{id}", _OPERATOR, door=Door.ADMIN),
    Rule("admin_usage", "GET", "/admin/reports/usage", _OPERATOR, door=Door.ADMIN),
    Rule("admin_reload", "POST", "/admin/reload", _OPERATOR, door=Door.ADMIN),
    Rule("admin_health", "GET", "/admin/health", _OPERATOR, door=Door.ADMIN),
    Rule("metrics", "GET", "/metrics", _OPERATOR, Keyless.NEAR, Door.ADMIN),
    Rule("openapi", "GET", "/openapi.json", _ANY_KEY, Keyless.ANYBODY, Door.BOTH),
    Rule("live", "GET", "/livez", _ANY_KEY, Keyless.ANYBODY, Door.BOTH),
    Rule("live_too", "GET", "/health/liveliness", _ANY_KEY, Keyless.ANYBODY, Door.BOTH),
    Rule("ready", "GET", "/readyz", _ANY_KEY, Keyless.ANYBODY, Door.BOTH),
    Rule("ready_too", "GET", "/health/readiness", _ANY_KEY, Keyless.ANYBODY, Door.BOTH),
)

PUBLIC = frozenset(rule.path for rule in ACCESS if rule.keyless is Keyless.ANYBODY)
NEAR = frozenset(rule.path for rule in ACCESS if rule.keyless is Keyless.NEAR)
"""The paths that need no key, or none from near. Every other path needs one, whether it is served or not."""


def served_at(door: Door | None) -> Sequence[Rule]:
    """The rules of one listener's routes; None: of the only one."""
    return tuple(rule for rule in ACCESS if door is None or rule.door in (door, Door.BOTH))


def reach(principal: Principal, rule: Rule) -> Reach:
    """The rows this caller may see or change by this route. Raises Forbidden when the route is not for it."""
    match rule.who.get(principal.role):
        case None:
            raise Forbidden(_refusal(principal, rule.who))
        case Whose.ALL:
            return Reach(None, None)
        case Whose.NAMESPACE:
            return Reach(principal.namespace, None)
        case Whose.OWN | Whose.NOBODYS:
            return Reach(principal.namespace, principal.user)


def _refusal(principal: Principal, who: Mapping[Role, Whose]) -> str:
    if principal.role is Role.ADMIN:
        return "An admin key has no user to pay for a call. Use a user key or a service key."
    return f"A {principal.role} key may not ask this. Use another kind of key: {' or '.join(who)}."
