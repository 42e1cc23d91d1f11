"""Who calls and who pays: the key from the headers, the end user from the key or from what a service key names."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.call import Account, Principal, Role
from proxy.errors import BadRequest, Forbidden, Unauthenticated
from proxy.keys import check_user

USER_HEADER = "x-orch-user"


def credentials(headers: Mapping[str, str]) -> str:
    """The key a request carries. Raises Unauthenticated when there is none, or one that is not a bearer token."""
    authorization = headers.get("authorization")
    if authorization is None:
        key = headers.get("x-api-key", "").strip()
        if not key:
            raise Unauthenticated(
                "User not authenticated: no API key. Send `Authorization: Bearer sk-orch-…` (or `x-api-key`)."
            )
        return key
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated(
            "User not authenticated: the Authorization header is not `Bearer <key>`. Send `Authorization: Bearer sk-orch-…`."
        )
    return key.strip()


def payer(principal: Principal, *, header: str | None, body_user: str | None) -> Account:
    """The account a call is for. ``header`` is x-orch-user, ``body_user`` the body's ``user``.

    A user key pays for its own user only; a service key must name one. An admin key has none.
    """
    match principal.role:
        case Role.USER:
            assert principal.user is not None
            if header is not None and header != principal.user:
                raise Forbidden(
                    f"This key belongs to another user than {header[:100]!r}. Use that user's key or a service key."
                )
            return Account(principal.namespace, principal.user)
        case Role.SERVICE:
            return Account(principal.namespace, _named(header, body_user))
        case Role.ADMIN:
            raise Forbidden("An admin key has no user to pay for a call. Use a user key or a service key.")


def workspace(principal: Principal, named: str | None) -> str | None:
    """The workspace of a call: the key's own, else the one named."""
    if principal.workspace is None or named is None or named == principal.workspace:
        return named if principal.workspace is None else principal.workspace
    raise Forbidden(f"This key belongs to another workspace than {named[:100]!r}. Leave metadata.workspace_id out.")


def _named(header: str | None, body_user: str | None) -> str:
    if header is not None and body_user is not None and header != body_user:
        raise BadRequest(
            f"The header x-orch-user names {header[:100]!r}, the body's user {body_user[:100]!r}. Name one user.",
            param="user",
        )
    user = header if header is not None else body_user
    if not user:
        raise BadRequest(
            "A service key must name the end user: send the header x-orch-user, or `user` in the body.", param="user"
        )
    return check_user(user)
