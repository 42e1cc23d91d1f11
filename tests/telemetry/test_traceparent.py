"""The traceparent header, by the W3C's recommendation."""

from __future__ import annotations

import pytest

from proxy.telemetry.traceparent import Span, parse, span_id_of, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("02", False)])
def test_a_header_is_read_and_written_as_it_was(flags: str, sampled: bool) -> None:
    span = parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert span == Span(trace_id=TRACE, span_id=SPAN, sampled=sampled)
    assert str(span) == f"00-{TRACE}-{SPAN}-{'01' if sampled else '00'}"


def test_a_later_version_may_say_more() -> None:
    assert parse(f"01-{TRACE}-{SPAN}-01-more") is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_what_is_not_a_traceparent_is_none(header: str | None) -> None:
    assert parse(header) is None


def test_a_call_that_came_without_a_trace_is_its_own() -> None:
    assert trace_id_of("0193a4f2-aaaa-7bbb-8ccc-123456789abc") == "0193a4f2aaaa7bbb8ccc123456789abc"
    assert len(trace_id_of("no-uuid")) == 32


def test_a_call_and_each_of_its_attempts_have_ids_of_their_own() -> None:
    ids = [span_id_of("call"), *(span_id_of("call", place) for place in range(8)), span_id_of("other")]
    assert len(set(ids)) == len(ids)
    assert span_id_of("call", 3) == ids[4]
    assert all(len(span_id) == 16 for span_id in ids)
