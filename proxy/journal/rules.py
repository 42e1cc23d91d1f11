"""What every ledger accepts and how it says no, whatever it is stored in."""

from __future__ import annotations

from hashlib import sha256

from proxy.errors import BadRequest, NotFound
from proxy.journal.port import Grant

PRIORITY = {"plan": 10, "promo": 20, "adjust": 30, "pack": 40}
"""Burn order by kind, lowest first: what lapses soonest goes before what was bought."""

OWN_REFS = "plan:"
"""``source_ref`` of the grants the ledger makes by itself begins with this."""

ERASED_REFS = "erased:"


def opening_ref(number: int) -> str:
    """Of the grant an account is opened with; by its number, for the ledger holds no names."""
    return f"{OWN_REFS}{number}:opening"


def erased_ref(source_ref: str) -> str:
    """What is kept of an erased user's ``source_ref``: enough to know it when it comes a second time."""
    return ERASED_REFS + sha256(source_ref.encode()).hexdigest()


def check_grant(op: Grant) -> None:
    """Raises BadRequest for what no ledger takes."""
    if op.points < 1:
        raise BadRequest(f"a grant gives at least 1 point, not {op.points}", param="points")
    if op.kind not in PRIORITY:
        raise BadRequest(f"no kind of grant {op.kind!r}; there are {', '.join(PRIORITY)}", param="kind")
    if op.source_ref is not None and op.source_ref.startswith((OWN_REFS, ERASED_REFS)):
        begins = f"{OWN_REFS!r} or {ERASED_REFS!r}"
        raise BadRequest(f"source_ref may not begin with {begins}: those are the ledger's own", param="source_ref")


def no_account(account: str) -> NotFound:
    return NotFound(f"there is no account {account!r}", param="user")


def user_exists(account: str) -> BadRequest:
    return BadRequest(f"the account {account!r} exists with another opening", reason="user_exists", param="user")


def other_grant(op: Grant) -> BadRequest:
    return BadRequest(
        f"another grant was made with the source_ref {op.source_ref!r}", reason="source_ref_taken", param="source_ref"
    )


def key_exists(key_id: str) -> BadRequest:
    return BadRequest(f"there is a key {key_id!r} already", reason="key_exists")


def calls_open(account: str, running: int) -> BadRequest:
    return BadRequest(
        f"{account!r} has {running} calls running; revoke its keys or wait until they have ended, then erase it again",
        reason="calls_open",
        param="user",
    )


def no_key(key_id: str) -> NotFound:
    return NotFound(f"there is no key with the id {key_id!r}; `orch keys list` shows the ids", reason="unknown_key")


def key_is_over(key_id: str) -> BadRequest:
    return BadRequest(
        f"the key {key_id!r} is revoked or was replaced already; make a new one with `orch keys create`",
        reason="key_revoked",
    )
