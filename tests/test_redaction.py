"""What is taken out of a text."""

from __future__ import annotations

import time

import pytest

from proxy.redaction import REDACTED, redact, spellings


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("key sk-orch-0123456789abcdef_secretsecretsecret!", f"key {REDACTED}!"),
        ("sk-proj-abcdefgh", REDACTED),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: {REDACTED}"),
        ("authorization: basic dXNlcjpwYXNz", f"authorization: {REDACTED}"),
        ("AIzaSyA1234567890abcdef", REDACTED),
        ("eyJhbGciOiJIUzI1.eyJzdWIi", REDACTED),
        ("https://user:word@host/path", "https://host/path"),
        ("redis://:word@host:6379/0", "redis://host:6379/0"),
        ("https://user:w@rd@host/path", "https://host/path"),
        ("http://host/path?key=word#part", "http://host/path"),
        ("at https://host/v1.", "at https://host/v1."),
    ],
)
def test_what_is_shaped_like_a_secret_is_taken_out(text: str, left: str) -> None:
    assert redact(text) == left


def test_known_secrets_are_taken_out_whatever_their_shape() -> None:
    assert redact("the word is hunter2 and hunter2", ["hunter2"]) == f"the word is {REDACTED} and {REDACTED}"


def test_ordinary_text_stays() -> None:
    text = "call 0193a4f2-aaaa: the bearer of bad news asked for risk-free tasks at 12:30, 3 of 4"
    assert redact(text, ["", "eu"]) == text


def test_a_secret_is_found_as_json_and_repr_write_it() -> None:
    secret = 'quo"te\\back'
    for text in (secret, '"quo\\"te\\\\back"', repr(secret)):
        assert "back" not in redact(text, spellings(secret))


def test_a_long_line_takes_no_long_time() -> None:
    began = time.process_time()
    for part in ("http://", "a://b@", "sk-", "-eyJ", "bearer ", "AIza", "x" * 10):
        redact(part * 20_000)
        redact("http://" + part * 20_000)
    assert time.process_time() - began < 5  # quadratic, it would take minutes
