"""What a running proxy says of itself over HTTP, where its configuration says that it listens."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from proxy.config import parse_listen
from proxy.journal import lock

ASK_S = 2.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where to ask one that listens on every address)


def live_policy(database: Path, listen: str) -> str | None:
    """The version of the policies that the proxy on this ledger has live; None: none runs, or it listens elsewhere."""
    if lock.holder(database) is None:
        return None
    host, port = parse_listen(listen)
    connection = http.client.HTTPConnection(ANYWHERE.get(host, host), port, timeout=ASK_S)
    try:
        connection.request("GET", "/readyz")
        told = json.loads(connection.getresponse().read(4096))
        return str(told["policy"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
