"""A request's head, checked before anything acts on it: what the parser lets pass and two readers may read differently.

Source: RFC 9110 and RFC 9112. The parser itself (llhttp, strict) refuses content-length beside transfer-encoding, numbers
that are none, folded lines, bare CR or LF and control characters.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

import httptools

from proxy.config.settings import Limits
from proxy.errors import BadRequest, ExpectationFailed, HeadTooLarge, WrongMethod

RawHeaders = list[tuple[bytes, bytes]]

FRAMING_BYTES = 4
"""Colon, blank, CR and LF of a header line."""

_HOST = re.compile(rb"([\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_ACTED_ON = frozenset((b"host", b"transfer-encoding", b"expect"))


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks for, whichever form its target has (RFC 9112, 3.2). ``path`` is decoded, the others are not."""

    path: str
    raw_path: bytes
    query: bytes


def check_head(method: str, version: str, headers: RawHeaders, limits: Limits) -> bool:
    """Whether the client waits for ``100 Continue`` before it sends the body.

    Raises HeadTooLarge, BadRequest, ExpectationFailed, WrongMethod.
    """
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"HTTP/{version} is not served here. Use HTTP/1.1.")
    size, hosts, waits = 0, 0, False
    for name, value in headers:
        size += len(name) + len(value) + FRAMING_BYTES
        if name not in _ACTED_ON:
            continue
        if name == b"host":
            hosts += 1
            _check_host(value)
        elif name == b"transfer-encoding":
            _check_transfer_encoding(value, version)
        elif version == "1.1":  # before it, nobody knew of expectations
            _check_expectation(value)
            waits = True
    if size > limits.head_bytes_max:
        raise head_too_large(limits)
    if hosts != 1 and (hosts or version == "1.1"):
        raise BadRequest(f"The request has {hosts or 'no'} host headers. Send one.", param="host")
    if method == "CONNECT":
        raise WrongMethod("This is no forward proxy: CONNECT is not served.", allow=("GET", "POST"))
    return waits


def target(url: bytes) -> Target:
    """The target's parts. The authority of an absolute target is not looked at: no decision rests on it. Raises BadRequest."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise BadRequest(
            f"The request target {_shown(url)} is not a path. Send one that begins with a slash."
        ) from None
    raw_path = parts.path or b"/"
    path = raw_path.decode("ascii")  # the parser lets nothing else pass
    return Target(urllib.parse.unquote(path) if "%" in path else path, raw_path, parts.query or b"")


def head_too_large(limits: Limits) -> HeadTooLarge:
    return HeadTooLarge(f"The request's headers are larger than {limits.head_bytes_max} bytes (head_bytes_max).")


def too_many_headers(limits: Limits) -> HeadTooLarge:
    return HeadTooLarge(f"The request has more than {limits.headers_max} headers (headers_max).")


def _check_host(value: bytes) -> None:
    if not _HOST.fullmatch(value.strip()):
        raise BadRequest(f"The host header {_shown(value)} is not a host. Send host or host:port.", param="host")


def _check_transfer_encoding(value: bytes, version: str) -> None:
    if version == "1.0":
        raise BadRequest("HTTP/1.0 has no transfer-encoding. Use HTTP/1.1, or send content-length.")
    if value.strip().lower() != b"chunked":
        raise BadRequest(f"The transfer-encoding {_shown(value)} is not served. Send chunked, or content-length.")


def _check_expectation(value: bytes) -> None:
    if value.strip().lower() != b"100-continue":
        raise ExpectationFailed(f"Expect: {_shown(value)} cannot be met. Send 100-continue, or no Expect header.")


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
