"""Redaction: takes secrets out of a text before anyone reads it: those that are known, and whatever is shaped like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

REDACTED = "[redacted]"
SECRET_CHARS_MIN = 4
"""A shorter value of the operator's ("1", "eu") is no secret, and is in too many words."""

_SHAPES = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=*-]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|nvapi|hf|ak)[-_][A-Za-z0-9*._-]{6,}"
    r"|\bAIza[0-9A-Za-z_*-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_.-]+"
)
_BETWEEN_WORDS = re.compile(r"([\s\"'<>]+)")
_URL_USER = re.compile(r"://[^/]*@")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without the given secrets, without what looks like a key, without credentials and queries of URLs."""
    for secret in secrets:
        if len(secret) >= SECRET_CHARS_MIN:
            text = text.replace(secret, REDACTED)
    if "://" in text:
        text = "".join(_bare(word) if "://" in word else word for word in _BETWEEN_WORDS.split(text))
    return _SHAPES.sub(REDACTED, text)


def _bare(url: str) -> str:
    """Without user, password, query and fragment. Word by word, because one pattern over a whole line can be made to
    take minutes.
    """
    return _URL_USER.sub("://", re.split(r"[?#]", url, maxsplit=1)[0])


def spellings(secret: str) -> tuple[str, ...]:
    """The secret as it may stand in a text: as it is, as ``repr`` writes it, and either as JSON writes that."""
    plain = (secret, repr(secret)[1:-1])
    return tuple(dict.fromkeys((*plain, *(orjson.dumps(text).decode()[1:-1] for text in plain))))
