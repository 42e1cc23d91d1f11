"""The fakes behave as the ports they stand for."""

from __future__ import annotations

import asyncio

import pytest

from proxy.call import Attempt, Chunk, Ending, Needs, Offer, Opening, Operation, Part, Reply
from proxy.errors import BadRequest, UpstreamUnavailable
from proxy.testing import (
    Collected,
    FakeHold,
    FakeRoutes,
    FakeUpstream,
    NullJournal,
    Slept,
    fake_call,
    fake_model,
    fake_ports,
)
from proxy.upstream.port import UpstreamRequest


def free(ending: Ending) -> int:
    return 0


async def test_collected_is_a_reply_that_starts_with_content() -> None:
    reply = Collected()
    assert isinstance(reply, Reply)
    await reply.send(Chunk(b"a", Part.PRELUDE))
    assert not reply.started
    await reply.send(Chunk(b"b", Part.CONTENT))
    assert reply.started
    assert (reply.raw, reply.parts) == (b"ab", [Part.PRELUDE, Part.CONTENT])


def test_routes_leave_out_what_is_down_or_was_tried() -> None:
    model = fake_model("m", "a/m", "b/m", "c/m", lacks=frozenset({"vision"}))
    routes = FakeRoutes(model, repeats=1, down=["b/m"])
    tried = Attempt(model="m", deployment=model.deployments[0], started_at=0)
    assert [place.id for place in routes.untried("m", [tried])] == ["c/m"]
    assert routes.fits("m", Needs(tools=True))
    assert not routes.fits("m", Needs(vision=True))
    assert [routes.may_repeat(), routes.may_repeat()] == [True, False]
    routes.report(tried)
    assert routes.reported == [tried]


async def test_a_hold_is_raised_only_as_far_as_the_balance_goes() -> None:
    hold = FakeHold(3, prices={"dear": 10, "dearer": 99}, affordable=10)
    assert await hold.raise_for("dear")
    assert not await hold.raise_for("dearer")
    assert (hold.points, hold.raised_for) == (10, ["dear"])


async def test_the_null_journal_takes_the_first_offer() -> None:
    journal = NullJournal()
    call = fake_call()
    offers = [Offer(model="gpt-4o-mini", points=3), Offer(model="gpt-4o", points=10)]
    async with journal.reserving(call, offers, opening=Opening("free", 0), charge=free) as held:
        assert held.model == "gpt-4o-mini"
        assert held.hold is not None
        assert held.hold.points == 3
    await journal.refused(call, BadRequest("no"))
    assert journal.offers == [offers]
    assert [refusal.message for refusal in journal.refusals] == ["no"]


async def test_a_fake_upstream_plays_one_script_a_request() -> None:
    taken: list[bytes] = []

    async def take(received: bytes) -> None:
        taken.append(received)

    never = asyncio.Event()
    upstream = FakeUpstream([b"a", b"b"], [UpstreamUnavailable("down")], [never])
    request = UpstreamRequest(call_id="c", operation=Operation.CHAT, model="m", body={}, stream=True)
    await upstream.send(request, take)
    assert taken == [b"a", b"b"]
    with pytest.raises(UpstreamUnavailable):
        await upstream.send(request, take)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await upstream.send(request, take)
    assert (upstream.cancelled, upstream.requests) == (1, [request] * 3)
    await upstream.aclose()
    assert upstream.closed


async def test_a_fake_call_takes_any_field_and_its_ports_any_port() -> None:
    slept = Slept()
    ports = fake_ports(fake_model("m"), sleep=slept)
    call = fake_call("m", {"model": "m", "stream": True}, ports=ports, usage_wanted=True)
    assert (call.model, call.stream, call.usage_wanted) == ("m", True, True)
    await call.ports.sleep(2.5)
    assert slept.seconds == [2.5]
    assert set(fake_call().ports.routes.models) == {"gpt-4o", "gpt-4o-mini"}
