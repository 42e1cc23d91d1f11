"""Addresses an operator writes: where to listen, a provider's base URL, the store's URL, a key; refused here if they cannot work.

Every function raises ValueError with what is wrong and what to do. No message repeats what was given: it may hold a secret.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

PORT_MAX = 65_535
SQLITE = "sqlite:///"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def parse_listen(text: str) -> tuple[str, int]:
    """``host:port``, an IPv6 host in brackets; port 0 lets the system choose one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("must be host:port, such as 127.0.0.1:4000 (0.0.0.0:4000 listens on every address)")
    if not port.isascii() or not port.isdigit() or int(port[:6]) > PORT_MAX:
        raise ValueError(f"the port must be a number from 0 to {PORT_MAX}")
    return _listen_host(host), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to ``host`` (a name or an address, without brackets)."""
    if host.lower() == "localhost":
        return True
    with suppress(ValueError):
        address = ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return (mapped or address).is_loopback
    return False


def checked_listen(text: str) -> str:
    parse_listen(text)
    return text


def checked_base_url(text: str) -> str:
    """An http or https URL without credentials, query or fragment; the slash at its end is dropped."""
    try:
        url = urlsplit(text)
        host, _port = url.hostname, url.port
    except ValueError:
        raise ValueError("is not a URL: check its host and port") from None
    if url.scheme not in ("http", "https") or not host or re.search(r"\s", text):
        raise ValueError("must be an http:// or https:// URL, such as https://api.openai.com/v1")
    if url.username is not None or url.password is not None:
        raise ValueError("must not contain a user name or a password: use api_key or headers")
    if url.query or url.fragment:
        raise ValueError("must not have a query or a fragment: give it up to and with /v1")
    return text.rstrip("/")


def checked_store(text: str) -> str:
    """``sqlite:///relative`` or ``sqlite:////absolute``."""
    if text.startswith(("postgresql:", "postgres:", "postgresql+")):
        raise ValueError("PostgreSQL is not in this version: use sqlite:///data/orch.db")
    place = text.removeprefix(SQLITE)
    if not text.startswith(SQLITE) or not place or place.endswith("/"):
        raise ValueError("must be sqlite:/// and the path of a file, such as sqlite:///data/orch.db")
    if place == ":memory:" or place.startswith("file:"):
        raise ValueError("must be a file: a ledger in memory is lost when the process ends")
    if "?" in place or "#" in place:
        raise ValueError("takes no options after the path: remove everything from ? or # on")
    return text


def store_path(store: str) -> Path:
    """The file that a checked store URL names."""
    return Path(store.removeprefix(SQLITE))


def store_below(store: str, folder: Path) -> str:
    """A checked store URL with its path made absolute; ``folder`` is where relative paths start."""
    return SQLITE + str(folder.absolute() / store_path(store))


def checked_secret(text: str) -> str:
    """A key as it goes into a header."""
    if not text:
        raise ValueError("is empty: give a value, or remove it where none is needed")
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("contains line breaks, blanks at its ends or characters no key has: look for a stray newline")
    return text


def checked_header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is not the name of an HTTP header: use letters, digits and hyphens")
    return name


def _listen_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        with suppress(ValueError):
            return str(IPv6Address(host[1:-1]))
        raise ValueError("no IPv6 address in the brackets: write it like [::1]:4000")
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets: write it like [::1]:4000")
    if not _HOST.fullmatch(host):
        raise ValueError("the host must be a name or an address, such as 127.0.0.1:4000")
    return host
