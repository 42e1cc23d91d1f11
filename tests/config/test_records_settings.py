"""What is kept of calls, as an operator writes it: taken as written, or refused with the line and how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import load
from proxy.config.settings import Records
from proxy.errors import ConfigError


def loaded(folder: Path, text: str) -> Records:
    (folder / "config.yaml").write_text(text)
    return load(folder / "config.yaml", {}).config.records


def test_by_default_calls_are_kept_for_ever_and_bodies_never(tmp_path: Path) -> None:
    assert loaded(tmp_path, "records: {}\n") == Records(keep=None, bodies="off", redact=(), refusals_per_minute=60)


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = (
        "records: {keep: 90d, bodies: errors, redact: ['$.messages[*].content', '\\d{16}'], refusals_per_minute: 0}\n"
    )
    redact = ("$.messages[*].content", r"\d{16}")
    assert loaded(tmp_path, text) == Records(keep="90d", bodies="errors", redact=redact, refusals_per_minute=0)
    assert loaded(tmp_path, "records: {keep:, bodies: off}\n") == Records()


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("records: {keep: 90}\n", "records.keep", "such as 90d or 12h"),
        ("records: {keep: forever}\n", "records.keep", "such as 90d or 12h"),
        ("records: {keep: 30m}\n", "records.keep", "too short: at least 1h"),
        ("records: {keep: 99999999d}\n", "records.keep", "100 years"),
        ("records: {bodies: some}\n", "records.bodies", "errors"),
        ("records: {redact: ['(']}\n", "records.redact[0]", "no regular expression"),
        ("records: {redact: ['$.a', '$a']}\n", "records.redact[1]", "no path"),
        ("records: {redact: '$.a'}\n", "records.redact", "list"),
        ("records: {refusals_per_minute: -1}\n", "records.refusals_per_minute", "0"),
        ("records: {kept: 90d}\n", "records.kept", "keep"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(tmp_path: Path, text: str, where: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    (problem,) = refused.value.problems
    assert where in str(problem)
    assert words in str(problem)
