"""Tracebacks say where and what kind, never what about."""

from __future__ import annotations

from proxy.errors import BadRequest
from proxy.telemetry.tracebacks import CAUSED, FRAMES_MAX, MEANWHILE, traceback_text

VALUE = "canary" + "-value"  # in two parts, as the line of source is shown


def caught(fail: object) -> Exception:
    try:
        fail()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError


def breaks() -> None:
    int(VALUE)


def test_it_names_the_place_and_the_kind_but_no_value() -> None:
    text = traceback_text(caught(breaks))
    assert "test_tracebacks.py" in text
    assert "in breaks\n    int(VALUE)" in text
    assert text.splitlines()[-1] == "ValueError"
    assert VALUE not in text


def test_our_own_errors_keep_their_text() -> None:
    def refuses() -> None:
        raise BadRequest("send less")

    assert traceback_text(caught(refuses)).endswith("proxy.errors.BadRequest: send less")


def test_causes_and_contexts_come_first() -> None:
    def caused() -> None:
        try:
            breaks()
        except ValueError as error:
            raise KeyError(VALUE) from error

    def meanwhile() -> None:
        try:
            breaks()
        except ValueError:
            raise KeyError(VALUE)  # noqa: B904

    for fail, between in ((caused, CAUSED), (meanwhile, MEANWHILE)):
        lines = traceback_text(caught(fail)).splitlines()
        assert lines.index("ValueError") < lines.index(between) < lines.index("KeyError")
        assert VALUE not in "\n".join(lines)


def test_the_members_of_a_group_are_told() -> None:
    def group() -> None:
        raise ExceptionGroup(VALUE, [caught(breaks), OSError(VALUE)])

    text = traceback_text(caught(group))
    assert "--- 1 of 2 in the group" in text
    assert "OSError" in text
    assert VALUE not in text


def test_a_deep_one_has_an_end() -> None:
    def deep() -> None:
        deep()

    assert traceback_text(caught(deep)).count('  File "') == FRAMES_MAX
