"""SSE framing: whole events, byte-exact, however the bytes are split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialect.sse import EventTooLarge, Framer, encode, payload

EVENT_BYTES_MAX = 1024

# Little pieces that meet each other in all the ways that matter: line ends, halves of them, fields, a BOM, half a character.
pieces = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"data: x",
        b"data:y",
        b"data",
        b": hi",
        b" ",
        b"\xef\xbb\xbf",
        b"\xf0\x9f",
        b"id: 1",
        b"\x00",
    ]
)
streams = st.lists(pieces, max_size=24).map(b"".join)


def framed(*received: bytes) -> tuple[list[bytes], bytes]:
    framer = Framer(EVENT_BYTES_MAX)
    events = [event for part in received for event in framer.feed(part)]
    return events, framer.rest()


@settings(max_examples=200, deadline=None)
@given(stream=streams, cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=8))
def test_the_events_are_the_same_for_any_split_and_joined_they_are_the_stream(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    whole = framed(stream)
    parts = [stream[start:stop] for start, stop in pairwise(edges)]

    assert framed(*parts) == whole
    assert framed(*(bytes([byte]) for byte in stream)) == whole
    assert b"".join(whole[0]) + whole[1] == stream


@settings(max_examples=200, deadline=None)
@given(stream=streams)
def test_a_clients_parser_reads_the_same_payloads_from_the_events_as_from_the_stream(stream: bytes) -> None:
    events, rest = framed(stream)

    assert [found for event in [*events, rest] for found in lines_of(event)] == lines_of(stream)


def lines_of(stream: bytes) -> list[bytes]:
    """The lines of a stream that say something; reading them is independent of the framer."""
    return [line for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_an_event_leaves_as_soon_as_its_blank_line_is_there(blank: bytes) -> None:
    framer = Framer(EVENT_BYTES_MAX)

    assert framer.feed(b"data: one" + blank) == [b"data: one" + blank]
    assert framer.rest() == b""


def test_a_cr_behind_an_lf_waits_for_the_byte_that_tells_whether_it_is_half_a_crlf() -> None:
    assert framed(b"data: a\n\r", b"\n") == ([b"data: a\n\r\n"], b"")
    assert framed(b"data: a\n\r", b"data: b\n\n") == ([b"data: a\n\r", b"data: b\n\n"], b"")


def test_a_blank_line_cut_in_the_middle_does_not_end_an_event_early() -> None:
    framer = Framer(EVENT_BYTES_MAX)

    assert framer.feed(b"data: a\r\n") == []
    assert framer.feed(b"data: b\r\n\r") == []
    assert framer.feed(b"\n") == [b"data: a\r\ndata: b\r\n\r\n"]


def test_comments_between_events_are_events_without_a_payload() -> None:
    events, _ = framed(b": keep-alive\n\ndata: x\n\n")

    assert [payload(event) for event in events] == [None, b"x"]


def test_what_is_left_at_the_end_is_an_event_without_its_blank_line() -> None:
    events, rest = framed(b"data: a\n\ndata: [DONE]\n")

    assert events == [b"data: a\n\n"]
    assert payload(rest) == b"[DONE]"


def test_an_event_over_the_cap_is_refused_whether_or_not_it_ever_ends() -> None:
    fits = b"data: " + b"x" * (EVENT_BYTES_MAX - 8) + b"\n\n"
    assert len(fits) == EVENT_BYTES_MAX
    assert framed(fits, fits) == ([fits, fits], b"")

    with pytest.raises(EventTooLarge, match="larger than 1024 bytes"):
        framed(b"data: x" + fits)
    with pytest.raises(EventTooLarge):
        framed(fits[:-2], b"xxx")


def test_many_small_events_in_one_read_are_not_one_large_event() -> None:
    event = b"data: {}\n\n"

    assert framed(event * 1000)[0] == [event] * 1000


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: x\r\n\r\n", b"x"),
        (b"data: x\r\r", b"x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\rdata: b\r\r", b"a\nb"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"event: chunk\nid: 7\ndata: x\n\n", b"x"),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b": comment\n\n", None),
        (b"event: ping\n\n", None),
        (b"datax: x\n\n", None),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"\n\n", None),
        (b"", None),
        (b"data: x", b"x"),
        (b"data: \n\n", b""),
    ],
)
def test_the_payload_is_what_the_standard_says(event: bytes, expected: bytes | None) -> None:
    assert payload(event) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64) | streams)
def test_what_is_encoded_is_one_event_that_carries_it(content: bytes) -> None:
    event = encode(content)

    assert framed(event) == ([event], b"")
    assert payload(event) == content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
