"""The first-content gate."""

from __future__ import annotations

import pytest

from proxy.call import Chunk, Cut, Deployment, Head, Part, Trace
from proxy.errors import UpstreamUnavailable
from proxy.testing import Collected
from proxy.upstream.gate import PRELUDE_BYTES_MAX, Gate

HEAD = Head(
    model="gpt-4o", deployment=Deployment(upstream="a", provider="openai", model="gpt-4o"), downgraded_from=None
)
PRELUDE = Chunk(b": hello\n\n", Part.PRELUDE)
CONTENT = Chunk(b"data: x\n\n", Part.CONTENT)


def gate_over(reply: Collected) -> tuple[Gate, Trace]:
    trace = Trace(received_at=0)
    return Gate(reply, HEAD, trace), trace


async def test_a_prelude_is_kept_back_and_leaves_no_trace_when_the_gate_is_dropped() -> None:
    reply = Collected()
    gate, trace = gate_over(reply)
    await gate.send(PRELUDE)
    assert not gate.started
    assert (reply.heads, reply.chunks, trace.answering) == ([], [], None)


async def test_content_opens_the_reply_once_and_the_prelude_goes_first() -> None:
    reply = Collected()
    gate, trace = gate_over(reply)
    for chunk in (PRELUDE, PRELUDE, CONTENT, CONTENT):
        await gate.send(chunk)
    assert gate.started
    assert reply.heads == [HEAD]
    assert reply.chunks == [PRELUDE, PRELUDE, CONTENT, CONTENT]
    assert trace.answering == "gpt-4o"


async def test_a_whole_body_is_content() -> None:
    reply = Collected()
    gate, _ = gate_over(reply)
    await gate.send(Chunk(b"{}", Part.BODY))
    assert gate.started
    assert reply.raw == b"{}"


@pytest.mark.parametrize("part", [Part.DONE, Part.USAGE, Part.PRELUDE])
async def test_what_is_not_content_does_not_open_the_gate(part: Part) -> None:
    reply = Collected()
    gate, _ = gate_over(reply)
    await gate.send(Chunk(b"data: [DONE]\n\n", part))
    assert not gate.started
    assert reply.heads == []


async def test_an_endless_prelude_is_an_upstream_that_does_not_answer() -> None:
    reply = Collected()
    gate, _ = gate_over(reply)
    await gate.send(Chunk(b"x" * PRELUDE_BYTES_MAX, Part.PRELUDE))
    with pytest.raises(UpstreamUnavailable, match=str(PRELUDE_BYTES_MAX)):
        await gate.send(Chunk(b"x", Part.PRELUDE))
    assert reply.chunks == []


async def test_a_gate_has_started_even_when_its_reply_fails_to_open() -> None:
    class Failing(Collected):
        async def open(self, head: Head) -> None:
            raise RuntimeError("the client's side broke")

    gate, trace = gate_over(Failing())
    with pytest.raises(RuntimeError):
        await gate.send(CONTENT)
    assert gate.started
    assert trace.answering == "gpt-4o"


async def test_a_cut_shows_through_and_a_later_head_is_the_one_that_goes_out() -> None:
    reply = Collected()
    gate, _ = gate_over(reply)
    reply.cut = Cut.GONE
    assert gate.cut is Cut.GONE
    other = Head(model="gpt-4o", deployment=HEAD.deployment, downgraded_from="o3")
    await gate.open(other)
    assert reply.heads == []
    await gate.send(CONTENT)
    assert reply.heads == [other]
