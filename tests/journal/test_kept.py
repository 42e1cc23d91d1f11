"""Bodies that are kept: of which calls, how much of them, and what is taken out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from proxy.call import Call, Chunk, Ending, Handler, How, Opening, Outcome, Part
from proxy.errors import EnergyExhausted, Forbidden, UpstreamUnavailable
from proxy.journal.hold import Journal
from proxy.journal.kept import KEPT_BYTES_MAX, STRING_CHARS_MAX, VALUES_MAX, bodies, listening, shortened
from proxy.journal.masks import masks
from proxy.journal.memory import MemoryStore
from proxy.journal.port import Bodies
from proxy.journal.retention import Keep, Retention, Rules
from proxy.testing import Collected, fake_call
from tests.journal.test_hold import OFFERS, OPENING, charge, outcome

ANSWER = b'{"choices":[{"message":{"content":"secret"}}]}'
ALL = Rules(bodies=Keep.ALL)


def saying(*chunks: bytes) -> Handler:
    """A handler that answers with these and is complete."""

    async def handle(call: Call) -> Outcome:
        for raw in chunks:
            await call.reply.send(Chunk(raw, Part.BODY))
        call.trace.outcome = outcome()
        return call.trace.outcome

    return handle


async def kept(call: Call, rules: Rules, *chunks: bytes) -> Bodies:
    await listening(saying(*chunks), Retention(rules))(call)
    found = bodies(call, rules)
    assert found is not None
    return found


def asking(**body: Any) -> Call:
    return replace(fake_call(), body={"model": "gpt-4o", **body})


async def test_what_was_asked_and_answered_is_kept_as_it_was() -> None:
    call = asking(messages=[{"role": "user", "content": "hé \ud800"}])
    found = await kept(call, ALL, ANSWER)
    assert json.loads(found.request or "") == dict(call.body)
    assert found == Bodies(call_id=call.id, request=found.request, response=ANSWER.decode())
    assert isinstance(call.reply, Collected)
    assert call.reply.raw == ANSWER


async def test_masks_are_taken_out_of_both() -> None:
    rules = replace(ALL, masks=masks(["$..content", "gpt-4o"]))
    found = await kept(asking(messages=[{"content": "secret"}]), rules, ANSWER)
    assert found.request == '{"model":"[redacted]","messages":[{"content":"[redacted]"}]}'
    assert found.response == '{"choices":[{"message":{"content":"[redacted]"}}]}'


async def test_masks_are_taken_out_of_every_event_of_a_stream() -> None:
    event = b'data: {"choices":[{"delta":{"content":"secret"}}]}\n\n'
    rules = replace(ALL, masks=masks(["$.choices[*].delta.content"]))
    found = await kept(
        replace(asking(), stream=True), rules, b": hi\n\n", event, event, b"data: [DONE]\n\n", b"data: {"
    )
    assert found.response == 'data: {"choices":[{"delta":{"content":"[redacted]"}}]}\n\n' * 2 + "data: [DONE]\n\n"


@pytest.mark.parametrize("stream", [True, False])
async def test_what_cannot_be_read_cannot_be_masked_and_is_not_kept(stream: bool) -> None:
    raw = b'data: {"content": "secret\n\n' if stream else b'{"content": "secret'
    found = await kept(replace(asking(), stream=stream), replace(ALL, masks=masks(["$.content"])), raw)
    assert "secret" not in (found.response or "")


async def test_a_long_answer_is_cut_and_what_was_masked_in_it_is_not_kept_half() -> None:
    long = b'{"a":"' + b"x" * KEPT_BYTES_MAX + b'","content":"secret"}'
    plain = await kept(asking(), ALL, long[:100], long[100:])
    assert plain.response == long[:KEPT_BYTES_MAX].decode()
    assert plain.response_cut
    masked = await kept(asking(), replace(ALL, masks=masks(["$.content"])), long)
    assert (masked.response, masked.response_cut) == ("[cut]", True)


async def test_a_long_request_is_cut_and_still_json() -> None:
    image = "A" * (STRING_CHARS_MAX + 1)
    found = await kept(asking(messages=[{"content": image}], last=1), ALL, ANSWER)
    body = orjson.loads(found.request or "")
    assert body["messages"][0]["content"] == "A" * STRING_CHARS_MAX + "[cut]"
    assert body["last"] == 1
    assert found.request_cut
    assert not found.response_cut


async def test_many_long_texts_are_cut_at_the_end() -> None:
    found = await kept(asking(messages=["é" * STRING_CHARS_MAX] * 10), ALL, ANSWER)
    assert found.request_cut
    assert KEPT_BYTES_MAX - 1 <= len((found.request or "").encode()) <= KEPT_BYTES_MAX


def test_of_very_many_values_the_first_are_kept() -> None:
    value, cut = shortened({"a": list(range(2 * VALUES_MAX)), "b": {"c": 1}})
    assert cut
    assert value["a"][:3] == [0, 1, 2]
    assert (value["a"][-1], value["b"]) == ("[cut]", "[cut]")


def test_a_copy_shares_nothing_that_can_be_written_to() -> None:
    body = {"a": [{"b": 1}]}
    value, cut = shortened(body)
    value["a"][0]["b"] = 2
    assert (body, cut) == ({"a": [{"b": 1}]}, False)


@pytest.mark.parametrize(
    ("rules", "how", "wanted"),
    [
        (Rules(), How.FAILED, False),
        (Rules(bodies=Keep.ERRORS), How.ANSWERED, False),
        (Rules(bodies=Keep.ERRORS), How.FAILED, True),
        (Rules(bodies=Keep.ERRORS), How.LEFT_AFTER, True),
        (Rules(bodies=Keep.ERRORS), None, True),
        (ALL, How.ANSWERED, True),
    ],
)
def test_only_the_calls_that_are_wanted_are_kept(rules: Rules, how: How | None, wanted: bool) -> None:
    call = asking()
    call.trace.ending = None if how is None else Ending(how, "gpt-4o")
    assert (bodies(call, rules) is not None) is wanted


async def test_nothing_is_noted_of_answers_while_nothing_is_kept() -> None:
    call = asking()
    await listening(saying(ANSWER), Retention())(call)
    assert call.trace.said is None


def keeping(store: MemoryStore, mode: Keep) -> Journal:
    return Journal(store, close_wait_s=5.0, retention=Retention(Rules(bodies=mode)))


async def ran(journal: Journal, call: Call, chunks: Sequence[bytes], error: Exception | None = None) -> None:
    async def inner(call: Call) -> Outcome:
        async with journal.reserving(call, OFFERS, opening=OPENING, charge=charge) as held:
            answered = await saying(*chunks)(held)
            if error is not None:
                call.trace.outcome = None
                raise error
            return answered

    await listening(inner, journal.retention)(call)


async def test_the_journal_keeps_them_with_the_close() -> None:
    store, call = MemoryStore(), asking()
    await ran(keeping(store, Keep.ALL), call, [ANSWER])
    found = await store.bodies(call.id)
    assert found is not None
    assert found.response == ANSWER.decode()


async def test_the_journal_keeps_those_of_errors_only_when_asked_for_errors() -> None:
    store, good, bad = MemoryStore(), asking(), replace(asking(), id="bad")
    journal = keeping(store, Keep.ERRORS)
    await ran(journal, good, [ANSWER])
    with pytest.raises(UpstreamUnavailable):
        await ran(journal, replace(bad, trace=fake_call().trace), [], UpstreamUnavailable("503"))
    assert await store.bodies(good.id) is None
    assert await store.bodies("bad") is not None


async def test_the_journal_keeps_what_a_refused_call_asked() -> None:
    store, call = MemoryStore(), asking(prompt="x")
    journal = keeping(store, Keep.ERRORS)
    await journal.refused(call, Forbidden("no"))
    found = await store.bodies(call.id)
    assert found is not None
    assert (found.request, found.response) == ('{"model":"gpt-4o","prompt":"x"}', None)
    poor = replace(asking(), id="poor", trace=fake_call().trace)
    with pytest.raises(EnergyExhausted):
        async with journal.reserving(poor, OFFERS, opening=Opening("free", 0), charge=charge):
            pytest.fail("nothing may run")
    assert await store.bodies("poor") is not None
