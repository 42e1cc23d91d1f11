"""What ``orch doctor`` looks at of the providers: whether there is a key, whether their address can be reached.

A connection is made and closed; nothing is sent, so that nothing is paid and no key leaves.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from proxy.cli.findings import Finding, broken, doubtful, fine
from proxy.config.settings import UpstreamSettings

CONNECT_S_MAX = 5.0
AT_ONCE_MAX = 20
PORTS = {"http": 80, "https": 443}


def keys(upstreams: Mapping[str, UpstreamSettings]) -> list[Finding]:
    """Whether each upstream has what it needs to be asked. No key is shown."""
    if all(upstream.via == "mock" for upstream in upstreams.values()):
        mend = "set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY …, or describe upstreams in config.yaml"
        return [doubtful("providers", "only the mock answers", mend)]
    return [_key(name, upstream) for name, upstream in upstreams.items() if upstream.via != "mock"]


def _key(name: str, upstream: UpstreamSettings) -> Finding:
    if upstream.api_key is not None or upstream.headers:
        return fine(f"key of {name}", "is there")
    if upstream.via == "passthrough":
        return fine(f"key of {name}", f"none is sent to {upstream.base_url}")
    return doubtful(f"key of {name}", "none is configured; LiteLLM looks for one in its own variables", "write api_key")


async def reachable(upstreams: Mapping[str, UpstreamSettings]) -> Sequence[Finding]:
    """Whether a connection to each upstream's address can be made, TLS and its certificate included."""
    places = asyncio.Semaphore(AT_ONCE_MAX)

    async def look(name: str, upstream: UpstreamSettings) -> Finding:
        async with places:
            return await _reach(name, upstream)

    asked = [look(name, upstream) for name, upstream in upstreams.items() if upstream.via != "mock"]
    return await asyncio.gather(*asked)


async def _reach(name: str, upstream: UpstreamSettings) -> Finding:
    check = f"reach {name}"
    if upstream.base_url is None:
        return fine(check, "asked through LiteLLM at an address of its own, which was not looked at")
    url = urlsplit(upstream.base_url)
    host, port = str(url.hostname), url.port or PORTS[url.scheme]
    try:
        async with asyncio.timeout(min(upstream.connect_s, CONNECT_S_MAX)):
            secure = ssl.create_default_context() if url.scheme == "https" else None
            _, writer = await asyncio.open_connection(host, port, ssl=secure)
    except TimeoutError:
        return broken(check, f"{host}:{port} does not answer", "look at the network, a firewall, base_url")
    except ssl.SSLCertVerificationError as error:
        return broken(
            check,
            f"{host}:{port} has no valid certificate: {error.verify_message}",
            "look at base_url, or SSL_CERT_FILE",
        )
    except OSError as error:
        why = error.strerror or str(error)
        return broken(
            check, f"{host}:{port} cannot be reached: {why}", "look at base_url, DNS, the network, a firewall"
        )
    writer.close()
    return fine(check, f"{host}:{port} answers")
