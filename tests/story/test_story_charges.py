"""The charge table, row by row, over real sockets: how a call ends decides what it costs, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.testing import (
    ScriptedUpstream,
    Step,
    answer,
    close,
    completion,
    delta,
    done,
    end,
    error,
    event,
    finish,
    hang,
    head,
    reset,
    role,
    stream,
)
from proxy.testing.running import RunningProxy, running
from tests.story.conftest import ENERGY, FILES, POLICIES, config

PRICE = 3
ENERGY_AT_START = 100
CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**CHAT, "stream": True}
STARTED: list[Step] = [head(), event(role()), event(delta("Hel"))]
WAIT_S = 20
SOME_SECONDS = 0.5


@asynccontextmanager
async def asking(proxy: RunningProxy, body: Any, **headers: str) -> AsyncIterator[httpx.Response]:
    """The proxy's answer as it comes; leaving the block hangs up."""
    key = await proxy.user_key("ana", energy=ENERGY_AT_START)
    named = {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(timeout=WAIT_S) as client,
        client.stream("POST", f"{proxy.base_url}/chat/completions", json=body, headers=named) as response,
    ):
        yield response


async def closed(proxy: RunningProxy, upstream: ScriptedUpstream) -> Mapping[str, Any]:
    """The row of the upstream's last request, once the call is closed; and the books balance."""
    call_id = upstream.requests[-1].call_id
    assert call_id is not None
    async with asyncio.timeout(WAIT_S):
        while (row := await proxy.parts.store.call(call_id)) is None or row["state"] == "open":
            await asyncio.sleep(0.01)
    balance = await proxy.parts.store.balance("app/ana")
    assert balance is not None
    assert (balance.balance, balance.held) == (ENERGY_AT_START - row["points_charged"], 0)
    assert await proxy.parts.store.verify() == []
    return row


async def test_a_complete_answer_costs_its_price(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    async with asking(proxy, CHAT) as response:
        await response.aread()

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("answered", PRICE)


async def test_a_complete_stream_costs_its_price(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    async with asking(proxy, STREAM) as response:
        assert (await response.aread()).endswith(b"data: [DONE]\n\n")

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"], row["output_tokens"]) == ("answered", PRICE, 7)


async def test_an_answer_cut_by_a_content_filter_is_an_answer(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will(stream(role(), finish("content_filter")))

    async with asking(proxy, STREAM) as response:
        await response.aread()

    assert (await closed(proxy, upstream))["points_charged"] == PRICE


async def test_a_stream_that_ends_without_done_but_with_its_finish_reason_is_complete(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.will([*STARTED, event(finish()), end()])

    async with asking(proxy, STREAM) as response:
        assert (await response.aread()).endswith(b"data: [DONE]\n\n")

    assert (await closed(proxy, upstream))["points_charged"] == PRICE


async def test_a_client_that_hangs_up_after_the_finish_reason_pays(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.will([*STARTED, event(finish()), hang()])

    async with asking(proxy, STREAM) as response:
        await _read_until(response, b'"stop"')

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("answered", PRICE)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
async def test_what_fails_before_content_is_free(proxy: RunningProxy, upstream: ScriptedUpstream, body: Any) -> None:
    upstream.always(error(500))

    async with asking(proxy, body) as response:
        assert response.status_code == 502

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("failed", 0)
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("breaks", [reset(), close(), end()], ids=["reset", "closed", "ended"])
async def test_a_stream_the_upstream_breaks_is_free(
    proxy: RunningProxy, upstream: ScriptedUpstream, breaks: Step
) -> None:
    upstream.will([*STARTED, breaks])

    async with asking(proxy, STREAM) as response:
        text = (await response.aread()).decode()

    assert "upstream_broke" in text.split("\n\n")[-2]
    assert "[DONE]" not in text
    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("broken", 0)


async def test_an_error_event_after_content_breaks_the_stream(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will([*STARTED, event({"error": {"message": "overloaded"}}), done(), end()])

    async with asking(proxy, STREAM) as response:
        text = (await response.aread()).decode()

    assert text.count('"error"') == 1
    assert (await closed(proxy, upstream))["how"] == "broken"


async def test_an_operator_may_charge_what_broke(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    policies = POLICIES.replace("prices: energy.yaml", "prices: energy.yaml, on_partial: full")
    upstream.will([*STARTED, reset()])

    async with running(
        tmp_path,
        config=config(upstream),
        files={"policies/default.yaml": policies, "policies/energy.yaml": ENERGY},
    ) as proxy:
        async with asking(proxy, STREAM) as response:
            await response.aread()

        row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("broken", PRICE)


async def test_a_deadline_after_content_costs_the_price(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will([*STARTED, hang()])

    async with asking(proxy, STREAM, x_orch_timeout_s=str(SOME_SECONDS)) as response:
        assert b"deadline_exceeded" in await response.aread()

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("overdue", PRICE)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
async def test_a_deadline_before_content_is_free(proxy: RunningProxy, upstream: ScriptedUpstream, body: Any) -> None:
    upstream.will([hang()])

    async with asking(proxy, body, x_orch_timeout_s=str(SOME_SECONDS)) as response:
        assert response.status_code == 504

    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("failed", 0)
    await upstream.requests[-1].hung_up.wait()


async def test_a_reader_that_stalls_after_content_pays(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    big = event(delta("x" * 1_000_000))
    upstream.will([*STARTED, *[big] * 40, hang()])

    async with running(tmp_path, config=config(upstream, f"limits: {{stall_s: {SOME_SECONDS}}}"), files=FILES) as proxy:
        async with asking(proxy, STREAM):  # reads the head and nothing more
            row = await closed(proxy, upstream)

    assert (row["how"], row["points_charged"]) == ("stalled", PRICE)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
async def test_a_client_that_leaves_before_content_gets_its_points_back_and_the_upstream_is_cancelled(
    proxy: RunningProxy, upstream: ScriptedUpstream, body: Any
) -> None:
    upstream.will([hang()])
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(_ask(proxy, body))
        request = await upstream.arrived()
        leaving.cancel()

    await request.hung_up.wait()
    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("left_before_content", 0)


async def test_a_client_that_leaves_after_content_pays(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.will([*STARTED, hang()])

    async with asking(proxy, STREAM) as response:
        await _read_until(response, b"Hel")

    await upstream.requests[-1].hung_up.wait()
    row = await closed(proxy, upstream)
    assert (row["how"], row["points_charged"]) == ("left_after_content", PRICE)
    assert row["usage_estimated"]


async def test_a_stream_our_shutdown_cuts_is_free_and_told(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.will([*STARTED, hang()])
    reading = asyncio.Event()

    async def read(proxy: RunningProxy) -> bytes:
        async with asking(proxy, STREAM) as response:
            received = b""
            async for part in response.aiter_raw():
                received += part
                reading.set()
            return received

    async with asyncio.TaskGroup() as group:
        async with running(tmp_path, config=config(upstream), files=FILES) as proxy:
            task = group.create_task(read(proxy))
            await reading.wait()
        # The proxy is down now: its drain time is over and it cut the stream.
    assert b"Hel" in task.result()
    assert b"shutting down" in task.result()

    async with running(tmp_path, config=config(upstream), files=FILES) as again:
        row = await closed(again, upstream)
    assert (row["how"], row["points_charged"]) == ("shutdown", 0)


async def test_an_answer_from_a_dearer_fallback_costs_no_more_than_was_held(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    policies = POLICIES.replace("to: {gpt-4o: [gpt-4o-mini]}", "to: {gpt-4o-mini: [gpt-4o]}")
    files = {"policies/default.yaml": policies, "policies/energy.yaml": ENERGY}
    upstream.will(error(401), answer(completion(model="gpt-4o")))

    async with running(tmp_path, config=config(upstream), files=files) as proxy:
        async with asking(proxy, CHAT) as response:
            await response.aread()
            assert response.headers["x-orch-model"] == "gpt-4o"

        row = await closed(proxy, upstream)
    assert (row["points_held"], row["points_charged"]) == (10, 10)


async def test_a_fallback_to_a_cheaper_model_costs_the_cheaper_price(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    upstream.will(error(500))

    async with asking(proxy, {**CHAT, "model": "gpt-4o"}) as response:
        await response.aread()

    row = await closed(proxy, upstream)
    assert (row["model"], row["points_held"], row["points_charged"]) == ("gpt-4o-mini", 10, PRICE)


async def _ask(proxy: RunningProxy, body: Any) -> None:
    async with asking(proxy, body) as response:
        await response.aread()


async def _read_until(response: httpx.Response, wanted: bytes) -> bytes:
    received = b""
    async for part in response.aiter_raw():
        received += part
        if wanted in received:
            break
    return received
