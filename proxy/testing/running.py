"""A whole proxy in this process: real configuration files, real SQLite, a real socket on loopback.

::

    async with running(tmp_path, config=CONFIG, policies=POLICIES) as proxy:
        client = proxy.sdk(await proxy.user_key("ana"))
        await client.chat.completions.create(model="gpt-4o", messages=[...])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from proxy.app import Running, opened
from proxy.call import Opening, Role
from proxy.config import load, store_path
from proxy.config.watch import Asked
from proxy.journal.port import NewUser
from proxy.keys import NewKey
from proxy.server import Server, claim, operators_served, served, server_config

NAMESPACE = "app"


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """Where the proxy listens, and the parts of it that a test looks at. ``operators_url`` serves ``/admin``."""

    base_url: str
    parts: Running
    database: Path
    reload_asked: Asked
    operators_url: str

    @property
    def root_url(self) -> str:
        return self.base_url.removesuffix("/v1")

    async def user_key(self, user: str, *, energy: int | None = None, **more: Any) -> str:
        """A key of ``user``; with ``energy``, its account is opened with that many points."""
        if energy is not None:
            account = f"{NAMESPACE}/{user}"
            await self.parts.store.create_user(NewUser(account=account, opening=Opening("free", energy)))
        return await self.key(role=Role.USER, user=user, **more)

    async def service_key(self, **more: Any) -> str:
        return await self.key(role=Role.SERVICE, **more)

    async def key(self, **fields: Any) -> str:
        _, shown = await self.parts.keyring.create(NewKey(namespace=NAMESPACE, **fields))
        return shown

    def sdk(self, key: str, **options: Any) -> AsyncOpenAI:
        """The real OpenAI SDK, pointed at this proxy; close it when done."""
        return AsyncOpenAI(base_url=self.base_url, api_key=key, **options)


@asynccontextmanager
async def running(
    directory: Path, *, config: str, files: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[RunningProxy]:
    """Write ``config`` as config.yaml (and ``files`` beside it, by relative path), and serve it until the block ends."""
    path = directory / "config.yaml"
    for name, text in {"config.yaml": config, **(files or {})}.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known = environ or {}
    loaded = load(path, known)
    asked = Asked()
    async with opened(loaded, load=lambda: load(path, known), environ=known, reload_asked=asked) as parts:
        claimed = claim("127.0.0.1:0")
        operators = [] if parts.admin is None else [claim("127.0.0.1:0")]
        server = Server(server_config(parts.asgi, parts, drain_s=1))
        async with operators_served(parts, operators), served(server, [claimed]):
            root, *operators_at = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (claimed, *operators))
            database = store_path(loaded.config.store)
            yield RunningProxy(f"{root}/v1", parts, database, asked, (operators_at or [root])[0])
