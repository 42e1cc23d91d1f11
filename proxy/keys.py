"""Keys: who is calling. ``sk-orch-<id>_<secret>`` is shown once; what is kept is the id and an HMAC of the secret."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from proxy.call import Principal, Role
from proxy.errors import BadRequest, ConfigError, Problem, Unauthenticated
from proxy.journal.clock import unix_ms
from proxy.journal.port import KeyRow, Rotation, Store

PREFIX = "sk-orch-"
DEFAULT_NAMESPACE = "app"
NAME_CHARS_MAX = 200
LISTED_MAX = 100
ADMIN_KEY_CHARS_MIN = 16
PEPPER_CHARS_MIN = 16
ROWS_KEPT_MAX = 10_000
MISSES_KEPT_MAX = 1_000
MISS_KEPT_S = 1.0

_KEY = re.compile(r"sk-orch-([0-9a-f]{16})_([A-Za-z0-9_-]{20,128})")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, lone surrogates, line and paragraph separators

_NO_KEY = (
    "User not authenticated: no API key was sent. Send 'Authorization: Bearer sk-orch-…' or 'x-api-key: sk-orch-…'; "
    "`orch keys create` makes a key."
)
_NOT_A_KEY = (
    "User not authenticated: this is not a key of this proxy. Its keys begin with 'sk-orch-' and have to be sent whole; "
    "`orch keys create` makes one."
)
_WRONG_KEY = (
    "User not authenticated: incorrect API key. Check that it was copied whole; `orch keys list` shows which exist."
)
_REVOKED = "User not authenticated: this API key was revoked. Use another; `orch keys create` makes one."


def check_user(text: str) -> str:
    """A user id: printable text of 1 to 200 characters. Raises BadRequest."""
    return _printable(text, "user")


def check_workspace(text: str) -> str:
    """A workspace id: printable text of 1 to 200 characters. Raises BadRequest."""
    return _printable(text, "workspace")


def check_namespace(text: str) -> str:
    """A namespace, one per application: ``[a-z0-9][a-z0-9-]{0,31}``. Raises BadRequest."""
    if not _NAMESPACE.fullmatch(text):
        raise BadRequest(
            f"namespace {text[:40]!r} is not valid: use 1 to 32 lower-case letters, digits and hyphens, not starting with a hyphen",
            param="namespace",
        )
    return text


def _printable(text: str, param: str) -> str:
    if not text.strip():
        raise BadRequest(f"{param} is empty: name the {param}", param=param)
    if len(text) > NAME_CHARS_MAX:
        raise BadRequest(f"{param} has {len(text)} characters; at most {NAME_CHARS_MAX} are allowed", param=param)
    if any(unicodedata.category(char) in _UNPRINTABLE for char in text):
        raise BadRequest(f"{param} holds a control character or broken text; use printable text", param=param)
    return text


def _named(text: str) -> str:
    return _printable(text, "name")


_PRINTABLE = Field(
    json_schema_extra={
        "minLength": 1,
        "maxLength": NAME_CHARS_MAX,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
    }
)
Namespace = Annotated[
    str, AfterValidator(check_namespace), Field(json_schema_extra={"pattern": f"^{_NAMESPACE.pattern}$"})
]
User = Annotated[str, AfterValidator(check_user), _PRINTABLE]
_Workspace = Annotated[str, AfterValidator(check_workspace), _PRINTABLE]
_Name = Annotated[str, AfterValidator(_named), _PRINTABLE]
_Listed = Annotated[tuple[_Name, ...], Field(min_length=1, max_length=LISTED_MAX)]


class NewKey(BaseModel):
    """What a key to be made may do. None in operations, models or actions: not narrowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    namespace: Namespace = DEFAULT_NAMESPACE
    user: User | None = None
    workspace: _Workspace | None = None
    operations: tuple[Literal["chat", "embeddings"], ...] | None = Field(None, min_length=1)
    models: _Listed | None = None
    actions: _Listed | None = None
    name: _Name | None = None

    @model_validator(mode="after")
    def _role_fits(self) -> Self:
        if self.role is Role.USER and self.user is None:
            raise BadRequest("a user key is bound to one user: name the user", param="user")
        if self.role is not Role.USER and self.user is not None:
            raise BadRequest(
                f"a {self.role} key is not bound to a user: leave the user out, or make a user key", param="user"
            )
        return self


def mint(pepper: bytes, new: NewKey, *, created_at: int) -> tuple[KeyRow, str]:
    """A fresh key: the row to keep, and the text that is shown once. ``created_at`` is Unix milliseconds."""
    key_id, secret = _minted()
    row = KeyRow(
        id=key_id,
        mac=mac(pepper, secret),
        role=new.role,
        namespace=new.namespace,
        user=new.user,
        workspace=new.workspace,
        operations=new.operations,
        models=new.models,
        actions=new.actions,
        name=new.name,
        created_at=created_at,
    )
    return row, _whole(key_id, secret)


def _minted() -> tuple[str, str]:
    """A new id and a new secret."""
    return secrets.token_hex(8), secrets.token_urlsafe(32)


def _whole(key_id: str, secret: str) -> str:
    return f"{PREFIX}{key_id}_{secret}"


def mac(pepper: bytes, secret: str) -> bytes:
    """HMAC-SHA256 of a secret: what is stored of it."""
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256")


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key; None when the text is no key of ours."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def matches(pepper: bytes, row: KeyRow, secret: str) -> bool:
    """Whether this is the row's secret, compared in constant time."""
    return hmac.compare_digest(row.mac, mac(pepper, secret))


def load_pepper(directory: Path, environ: Mapping[str, str]) -> bytes:
    """The secret behind every stored HMAC: ``ORCH_SECRET``, else the 0600 file ``secret`` in the data directory.

    The file is made on first use, once, however many processes start together. Raises ConfigError when others could read it.
    """
    given = environ.get("ORCH_SECRET", "").strip()
    if given:
        if len(given) < PEPPER_CHARS_MIN:
            raise _unusable("ORCH_SECRET", f"has {len(given)} characters; set at least {PEPPER_CHARS_MIN} random ones")
        return given.encode()
    file = directory / "secret"
    if not file.exists():
        _create_secret(file)
    return _read_secret(file)


def _create_secret(file: Path) -> None:
    draft = file.with_name(f".secret.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise _unusable(
            str(file), f"cannot be made ({error.strerror}); make the directory writable or set ORCH_SECRET"
        ) from error
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_urlsafe(32))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, file)  # a link appears whole or not at all, so no other process ever reads half a secret
    except FileExistsError:
        return  # another process was first; its secret is the one
    finally:
        draft.unlink()


def _read_secret(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(str(file), f"cannot be read ({error}); mend its permissions or set ORCH_SECRET") from error
    if mode & 0o077:
        raise _unusable(str(file), f"can be read by others (mode {mode & 0o777:04o}); run: chmod 600 {file}")
    if len(text) < PEPPER_CHARS_MIN:
        raise _unusable(
            str(file), "is damaged (too short); restore it from a backup, or remove it and make every key anew"
        )
    return text.encode()


def _unusable(where: str, why: str) -> ConfigError:
    return ConfigError([Problem(where, 0, 0, "", why)])


def _checked_admin_key(key: str) -> str:
    if len(key.strip()) < ADMIN_KEY_CHARS_MIN:
        raise _unusable(
            "ORCH_ADMIN_KEY", f"is shorter than {ADMIN_KEY_CHARS_MIN} characters; make one with: openssl rand -hex 24"
        )
    return key.strip()


class Keyring:
    """Turns what a client sent into a Principal. The rows read last are kept; a revoke in this process counts at once."""

    def __init__(
        self,
        store: Store,
        pepper: bytes,
        admin_key: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._store = store
        self._clock = clock
        self._now_ms = now_ms
        self._pepper = pepper
        self._admin_mac = mac(pepper, _checked_admin_key(admin_key)) if admin_key and admin_key.strip() else None
        self._rows: OrderedDict[str, KeyRow] = OrderedDict()
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._changes = 0

    async def principal(self, authorization_or_key: str) -> Principal:
        """Who holds this key (``Bearer …`` or the bare key).

        Raises Unauthenticated, in the same words for an unknown id as for a wrong secret; JournalUnavailable when the key
        has to be read and the store does not answer.
        """
        text = _bare(authorization_or_key)
        if not text:
            raise Unauthenticated(_NO_KEY)
        if self._admin_mac is not None and hmac.compare_digest(self._admin_mac, mac(self._pepper, text)):
            return Principal(key_id="env", role=Role.ADMIN, namespace=DEFAULT_NAMESPACE)
        parts = parse(text)
        if parts is None:
            raise Unauthenticated(_NOT_A_KEY)
        row = await self._row(parts[0])
        if row is None or not matches(self._pepper, row, parts[1]):
            raise Unauthenticated(_WRONG_KEY)
        if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= self._now_ms()):
            raise Unauthenticated(_REVOKED)
        return _principal(row)

    async def create(self, new: NewKey) -> tuple[KeyRow, str]:
        """Mint and store a key; the text is shown once."""
        row, shown_once = mint(self._pepper, new, created_at=self._now_ms())
        await self._store.create_key(row)
        self.forget(row.id)
        return row, shown_once

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key; True if it exists (revoked now or before)."""
        revoking = self._store.revoke_key(key_id)
        revoking.add_done_callback(lambda _: self.forget(key_id))
        known = await asyncio.shield(
            revoking
        )  # who asked may leave; the key is still forgotten when the commit is done
        self.forget(key_id)  # the callback may come a turn of the loop later, and a call before it
        return known

    async def rotate(self, key_id: str, *, grace_ms: int = 0) -> tuple[KeyRow, str]:
        """Put a fresh key of the same rights in this one's place, which is good for ``grace_ms`` more; the text is shown once.

        Raises NotFound, or BadRequest for a key that is revoked or was replaced already.
        """
        fresh_id, secret = _minted()
        rotating = self._store.rotate_key(
            Rotation(
                key_id=key_id,
                fresh_id=fresh_id,
                mac=mac(self._pepper, secret),
                created_at=self._now_ms(),
                grace_ms=grace_ms,
            )
        )
        rotating.add_done_callback(lambda _: self.forget(key_id))
        row = await asyncio.shield(rotating)  # as for a revoke
        self.forget(key_id)
        self.forget(fresh_id)
        return row, _whole(fresh_id, secret)

    def forget(self, key_id: str) -> None:
        """Read this key from the store again when it is next used."""
        self._changes += 1
        self._rows.pop(key_id, None)
        self._misses.pop(key_id, None)

    async def _row(self, key_id: str) -> KeyRow | None:
        row = self._rows.get(key_id)
        if row is not None:
            self._rows.move_to_end(key_id)
            return row
        if self._misses.get(key_id, 0.0) > self._clock():
            return None
        changes = self._changes
        row = await self._store.key(key_id)
        if changes == self._changes:  # else a revoke overtook this read, and what it saw may be the past
            self._keep(key_id, row)
        return row

    def _keep(self, key_id: str, row: KeyRow | None) -> None:
        if row is None:
            self._misses[key_id] = self._clock() + MISS_KEPT_S
            self._misses.move_to_end(key_id)
            _shorten(self._misses, MISSES_KEPT_MAX)
            return
        self._rows[key_id] = row
        _shorten(self._rows, ROWS_KEPT_MAX)


def _shorten(kept: OrderedDict[str, KeyRow] | OrderedDict[str, float], entries_max: int) -> None:
    while len(kept) > entries_max:
        kept.popitem(last=False)


def _bare(credential: str) -> str:
    text = credential.strip()
    scheme, _, rest = text.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else text


def _principal(row: KeyRow) -> Principal:
    return Principal(
        key_id=row.id,
        role=row.role,
        namespace=row.namespace,
        user=row.user,
        workspace=row.workspace,
        operations=_set(row.operations),
        models=_set(row.models),
        actions=_set(row.actions),
    )


def _set(listed: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if listed is None else frozenset(listed)
