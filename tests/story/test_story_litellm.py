"""Claude and Gemini behind the whole proxy: the OpenAI SDK in front, loopback servers of their own protocols behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from proxy.testing import Script, Step, answer, close, end, event, hang, head, reset
from proxy.testing.running import running
from tests.story.claude_and_gemini import (
    CLAUDE,
    EMBEDDER,
    ENERGY_AT_START,
    FILES,
    GEMINI,
    MESSAGES,
    PAIRED,
    PRICES,
    World,
    config,
)
from tests.upstream import fake_anthropic as anthropic
from tests.upstream import fake_gemini as gemini
from tests.upstream.litellm_route import QUIET, WEATHER

pytestmark = pytest.mark.filterwarnings(*QUIET)

WAIT_S = 20
SOME_SECONDS = 0.5


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        anthropic.FakeAnthropic() as claude,
        gemini.FakeGemini() as google,
        running(tmp_path, config=config(claude, google), files=FILES) as proxy,
        proxy.sdk(await proxy.user_key("ana", energy=ENERGY_AT_START), max_retries=0) as sdk,
    ):
        yield World(proxy, sdk, claude, google)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "provider", "tokens", "nanousd"),
    [(CLAUDE, "anthropic", (30, 5, 15), 301_500), (GEMINI, "gemini", (21, 4, 9), 27_720)],
)
async def test_the_sdk_gets_an_answer_that_is_priced_charged_and_recorded(
    world: World, model: str, provider: str, tokens: tuple[int, int, int], nanousd: int
) -> None:
    raw = await world.sdk.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    got = raw.parse()

    assert (got.choices[0].message.content, got.choices[0].finish_reason) == ("Hello", "stop")
    assert (raw.headers["x-orch-model"], raw.headers["x-orch-attempts"]) == (model, "1")
    assert raw.headers["x-orch-energy-charged"] == str(PRICES[model])
    row = await world.row()
    assert (row["id"], row["provider"], row["how"]) == (raw.headers["x-request-id"], provider, "answered")
    assert (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == tokens
    assert (row["points_charged"], row["cost_nanousd"], row["usage_estimated"]) == (PRICES[model], nanousd, 0)
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (tokens[0], tokens[2])


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
async def test_the_sdk_gets_a_stream_with_its_usage_and_energy_at_the_end(world: World, model: str) -> None:
    *spoken, last = await world.chunks(model)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == "Hello"
    assert [chunk.choices[0].finish_reason for chunk in spoken if chunk.choices[0].finish_reason] == ["stop"]
    assert {chunk.model for chunk in spoken} == {model}
    row = await world.row()
    assert (last.choices, row["points_charged"], row["usage_estimated"]) == ([], PRICES[model], 0)
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (row["input_tokens"], row["output_tokens"])
    assert (last.model_extra or {})["orch"]["energy_charged"] == PRICES[model]


@pytest.mark.parametrize(
    ("model", "answered"),
    [
        (CLAUDE, answer(anthropic.message(anthropic.tool_block({"city": "Rome"}), stop_reason="tool_use"))),
        (GEMINI, answer(gemini.content(gemini.call_part({"city": "Rome"})))),
    ],
)
async def test_the_sdk_gets_a_tool_call(world: World, model: str, answered: Script) -> None:
    world.provider(model).will(answered)

    tools: Any = [WEATHER]
    got = await world.sdk.chat.completions.create(model=model, messages=MESSAGES, tools=tools)

    assert got.choices[0].finish_reason == "tool_calls"
    (called,) = got.choices[0].message.tool_calls or []
    assert isinstance(called, ChatCompletionMessageFunctionToolCall)
    assert (called.function.name, json.loads(called.function.arguments)) == ("weather", {"city": "Rome"})
    assert (await world.row())["points_charged"] == PRICES[model]


@pytest.mark.parametrize(
    ("model", "answered"),
    [
        (CLAUDE, [*anthropic.start(), *anthropic.tool('{"city"', ': "Rome"}', index=0), *anthropic.stop("tool_use")]),
        (GEMINI, gemini.stream(gemini.content(gemini.call_part({"city": "Rome"})))),
    ],
)
async def test_the_sdk_gets_a_streamed_tool_call(world: World, model: str, answered: Script) -> None:
    world.provider(model).will(answered)

    chunks = await world.chunks(model, tools=[WEATHER])

    pieces = [
        piece
        for chunk in chunks
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or ()
        if piece.function
    ]
    assert {piece.index for piece in pieces} == {0}
    assert pieces[0].function is not None
    assert pieces[0].function.name == "weather"
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert json.loads(arguments) == {"city": "Rome"}
    assert "tool_calls" in [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert (await world.row())["points_charged"] == PRICES[model]


async def test_the_sdk_gets_embeddings(world: World) -> None:
    got = await world.sdk.embeddings.create(model=EMBEDDER, input=["one", "two"])  # it asks for base64

    assert [vector.embedding for vector in got.data] == [gemini.VECTOR] * 2
    row = await world.row()
    assert (row["operation"], row["points_charged"], row["how"]) == ("embeddings", 0, "answered")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_rate_limit_is_waited_out_as_the_provider_asks(world: World, streamed: bool) -> None:
    world.claude.will(anthropic.error(429, "rate_limit_error", "slow down", headers={"retry-after": "1"}))

    await _asked(world, CLAUDE, streamed=streamed)

    row = await world.row()
    first, again = json.loads(row["attempts"])
    assert (first["status"], first["error"], again["error"]) == (429, "upstream_rate_limited", None)
    assert again["started_ms"] - first["ended_ms"] >= 990  # each is rounded
    assert row["points_charged"] == PRICES[CLAUDE]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("model", "fails", "status"),
    [
        (CLAUDE, anthropic.error(529, "overloaded_error", "Overloaded"), 529),
        (CLAUDE, anthropic.error(500, "api_error", "Internal server error"), 500),
        (GEMINI, gemini.error(503, "UNAVAILABLE", "The model is overloaded."), 503),
        (GEMINI, [reset()], None),
    ],
    ids=["529", "500", "503", "reset"],
)
async def test_what_passes_is_asked_again(
    world: World, model: str, fails: Script, status: int | None, streamed: bool
) -> None:
    world.provider(model).will(fails, fails)

    await _asked(world, model, streamed=streamed)

    row = await world.row()
    first, second, last = json.loads(row["attempts"])
    assert (first["status"], second["status"], last["error"]) == (status, status, None)
    assert row["points_charged"] == PRICES[model]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_key_that_is_refused_moves_the_call_to_the_other_model(world: World, streamed: bool) -> None:
    world.claude.will(anthropic.error(401, "authentication_error", f"invalid x-api-key {anthropic.KEY}"))

    await _asked(world, PAIRED, streamed=streamed)

    assert (len(world.claude.requests), len(world.google.requests)) == (1, 1)
    row = await world.row()
    assert (row["model"], row["provider"], row["points_held"], row["points_charged"]) == (GEMINI, "gemini", 10, 3)
    assert json.loads(row["attempts"])[0]["error"] == "upstream_refused"
    assert anthropic.KEY not in json.dumps(row)


async def test_a_request_the_provider_rejects_is_nobody_elses(world: World) -> None:
    world.google.will(gemini.error(400, "INVALID_ARGUMENT", "temperature must be in [0, 2]"))

    with pytest.raises(openai.BadRequestError, match=r"temperature must be in \[0, 2\]"):
        await _asked(world, GEMINI, streamed=False)

    row = await world.row()
    assert (row["how"], row["points_charged"], len(world.google.requests)) == ("failed", 0, 1)


async def test_what_keeps_failing_is_given_up_free_of_charge_and_names_no_key(world: World) -> None:
    world.google.always(gemini.error(500, "INTERNAL", f"trouble with {gemini.KEY}"))

    with pytest.raises(openai.InternalServerError) as raised:
        await _asked(world, GEMINI, streamed=True)

    assert raised.value.response.headers["x-should-retry"] == "false"
    row = await world.row()
    assert (row["how"], row["points_charged"], len(world.google.requests)) == ("failed", 0, 3)
    assert gemini.KEY not in raised.value.response.text + json.dumps(row)


async def _asked(world: World, model: str, *, streamed: bool) -> None:
    """Ask; what comes is an answer."""
    if streamed:
        assert (await world.chunks(model))[-1].usage
        return
    assert (await world.sdk.chat.completions.create(model=model, messages=MESSAGES)).choices[0].message.content


# --- the charge table, by how a call ends -----------------------------------------------------------------------------

OPENINGS: dict[str, list[Step]] = {
    CLAUDE: [*anthropic.start(), *anthropic.text("Hel", "lo")],
    GEMINI: [head(), event(gemini.content(gemini.text_part("Hello"), finish=None))],
}
BOTH = pytest.mark.parametrize("model", [CLAUDE, GEMINI])


@asynccontextmanager
async def asking(world: World, body: dict[str, Any], **headers: str) -> AsyncIterator[httpx.Response]:
    """The proxy's answer as it comes; leaving the block hangs up."""
    named = {"authorization": f"Bearer {world.sdk.api_key}", **headers}
    async with (
        httpx.AsyncClient(timeout=WAIT_S) as client,
        client.stream("POST", f"{world.proxy.base_url}/chat/completions", json=body, headers=named) as response,
    ):
        yield response


def body(model: str, *, stream: bool) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "stream": stream}


@BOTH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_leaves_before_content_pays_nothing_and_the_provider_is_hung_up_on(
    world: World, model: str, stream: bool
) -> None:
    provider = world.provider(model)
    provider.will([hang()])

    async def ask() -> None:
        async with asking(world, body(model, stream=stream)) as response:
            await response.aread()

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(ask())
        request = await provider.arrived()
        leaving.cancel()

    async with asyncio.timeout(WAIT_S):
        await request.hung_up.wait()
    row = await world.row()
    assert (row["how"], row["points_charged"]) == ("left_before_content", 0)


@BOTH
async def test_a_client_that_leaves_after_content_pays_and_the_provider_is_hung_up_on(world: World, model: str) -> None:
    provider = world.provider(model)
    provider.will([*OPENINGS[model], hang()])

    async with asking(world, body(model, stream=True)) as response:
        await anext(response.aiter_raw())

    async with asyncio.timeout(WAIT_S):
        await provider.requests[0].hung_up.wait()
    row = await world.row()
    assert (row["how"], row["points_charged"]) == ("left_after_content", PRICES[model])


@BOTH
@pytest.mark.parametrize("ending", [[reset()], [close()], [end()]], ids=["reset", "closed", "ended"])
async def test_a_stream_that_breaks_after_content_is_free_and_told(
    world: World, model: str, ending: list[Step]
) -> None:
    world.provider(model).will([*OPENINGS[model], *ending])

    with pytest.raises(openai.APIError, match="broke off"):
        await world.chunks(model)

    row = await world.row()
    assert (row["how"], row["points_charged"], row["error"]) == ("broken", 0, "upstream_broke")


async def test_an_error_event_after_content_breaks_the_stream(world: World) -> None:
    world.claude.will([*OPENINGS[CLAUDE], *anthropic.in_stream_error("overloaded_error", "Overloaded")])

    with pytest.raises(openai.APIError, match="Overloaded"):
        await world.chunks(CLAUDE)

    assert ((await world.row())["how"], len(world.claude.requests)) == ("broken", 1)


async def test_an_error_event_before_content_is_asked_again(world: World) -> None:
    world.claude.will([*anthropic.start(), *anthropic.in_stream_error("overloaded_error", "Overloaded")])

    assert (await world.chunks(CLAUDE))[-1].usage

    assert ((await world.row())["points_charged"], len(world.claude.requests)) == (PRICES[CLAUDE], 2)


@BOTH
async def test_a_deadline_after_content_costs_the_price(world: World, model: str) -> None:
    provider = world.provider(model)
    provider.will([*OPENINGS[model], hang()])

    async with asking(world, body(model, stream=True), **{"x-orch-timeout-s": str(SOME_SECONDS)}) as response:
        received = await response.aread()

    assert b'"code":"deadline_exceeded"' in received
    assert b"[DONE]" not in received
    row = await world.row()
    assert (row["how"], row["points_charged"]) == ("overdue", PRICES[model])
    async with asyncio.timeout(WAIT_S):
        await provider.requests[0].hung_up.wait()


# --- nothing configured -----------------------------------------------------------------------------------------------


async def test_a_key_of_anthropics_in_the_environment_is_enough(tmp_path: Path) -> None:
    async with anthropic.FakeAnthropic() as claude:
        environ = {"ANTHROPIC_API_KEY": anthropic.KEY, "ANTHROPIC_BASE_URL": claude.base_url}
        async with running(tmp_path, config="store: sqlite:///orch.db", environ=environ) as proxy:
            async with proxy.sdk(await proxy.user_key("ana", energy=ENERGY_AT_START), max_retries=0) as sdk:
                offered = {model.id async for model in sdk.models.list()}
                got = await sdk.chat.completions.create(model=CLAUDE, messages=MESSAGES)
    assert CLAUDE in offered
    assert got.choices[0].message.content == "Hello"
    assert len(claude.requests) == 1
