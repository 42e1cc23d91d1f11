"""What LiteLLM raises becomes the right UpstreamError, says what the provider said, and keeps every secret."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.config.settings import Limits, UpstreamSettings
from proxy.errors import (
    UpstreamError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.testing import Script, ScriptedUpstream, answer, close, delta, end, error, event, hang, head, reset, role
from proxy.upstream.litellm import LitellmUpstream
from tests.upstream import fake_anthropic as anthropic
from tests.upstream import fake_gemini as gemini
from tests.upstream.litellm_route import OPENAI_KEY, QUIET, chat, embed, sent, through

pytestmark = pytest.mark.filterwarnings(*QUIET)

WAIT = {"retry-after": "7"}
PROVIDERS = {
    "anthropic": (anthropic.FakeAnthropic, anthropic.KEY, anthropic.MODEL),
    "gemini": (gemini.FakeGemini, gemini.KEY, gemini.MODEL),
    "openai": (ScriptedUpstream, OPENAI_KEY, "m"),
    "hosted_vllm": (ScriptedUpstream, OPENAI_KEY, "m"),
}
every_provider = pytest.mark.parametrize("provider", PROVIDERS)
either_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


async def failing(provider: str, script: Script, *, stream: bool) -> UpstreamError:
    """What one request to a server that answers with ``script`` comes to; it is asked exactly once."""
    make, key, model = PROVIDERS[provider]
    async with make() as server, through(server, provider, key) as upstream:
        server.will(script)
        with pytest.raises(UpstreamError) as caught:
            await sent(upstream, chat(model, stream=stream))
        assert len(server.requests) == 1
    assert key not in "".join(map(str, (caught.value, caught.value.detail, caught.value.__cause__)))
    return caught.value


@either_way
@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", UpstreamRejected),
        (401, "authentication_error", UpstreamRefused),
        (403, "permission_error", UpstreamRefused),
        (413, "request_too_large", UpstreamRejected),
        (429, "rate_limit_error", UpstreamLimited),
        (500, "api_error", UpstreamUnavailable),
        (503, "api_error", UpstreamUnavailable),
        (529, "overloaded_error", UpstreamUnavailable),
    ],
)
async def test_an_error_of_anthropics_keeps_its_status_and_its_words(
    stream: bool, status: int, kind: str, expected: type[UpstreamError]
) -> None:
    raised = await failing("anthropic", anthropic.error(status, kind, "its own words"), stream=stream)
    assert type(raised) is expected
    assert raised.status == status
    assert raised.detail is not None
    assert (raised.detail["type"], raised.detail["message"]) == (kind, "its own words")


@either_way
@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        (400, "INVALID_ARGUMENT", UpstreamRejected),
        (403, "PERMISSION_DENIED", UpstreamRefused),
        (429, "RESOURCE_EXHAUSTED", UpstreamLimited),
        (500, "INTERNAL", UpstreamUnavailable),
        (503, "UNAVAILABLE", UpstreamUnavailable),
    ],
)
async def test_an_error_of_geminis_keeps_its_status_and_its_words(
    stream: bool, status: int, name: str, expected: type[UpstreamError]
) -> None:
    raised = await failing("gemini", gemini.error(status, name, "its own words"), stream=stream)
    assert type(raised) is expected
    assert raised.status == status
    assert raised.detail is not None
    assert raised.detail["message"] == "its own words"


@every_provider
@either_way
async def test_the_wait_a_provider_asks_for_is_kept(provider: str, stream: bool) -> None:
    raised = await failing(provider, error(429, "slow down", headers=WAIT), stream=stream)
    assert type(raised) is UpstreamLimited
    assert raised.retry_after_s == 7


@every_provider
@either_way
async def test_an_exhausted_quota_is_not_a_rate_limit(provider: str, stream: bool) -> None:
    raised = await failing(provider, error(429, "pay first", code="insufficient_quota"), stream=stream)
    assert type(raised) is UpstreamRefused


@every_provider
@either_way
async def test_an_unknown_model_is_the_deployments_fault(provider: str, stream: bool) -> None:
    raised = await failing(provider, error(404, "model: nope", code="model_not_found"), stream=stream)
    assert type(raised) is UpstreamRefused


@every_provider
@either_way
@pytest.mark.parametrize("last", [[reset()], [close()], answer(b"<html>oops</html>"), answer(b"", status=502)])
async def test_a_broken_server_is_unavailable_and_asked_once(provider: str, stream: bool, last: Script) -> None:
    raised = await failing(provider, last, stream=stream)
    assert type(raised) is UpstreamUnavailable
    assert "oops" not in str(raised)
    assert "Traceback" not in str(raised)


@every_provider
@either_way
async def test_a_refused_connection_is_unavailable(provider: str, stream: bool) -> None:
    make, key, model = PROVIDERS[provider]
    async with make() as server:
        pass
    settings = {"provider": provider, "base_url": f"http://127.0.0.1:{_unused(server)}/v1", "api_key": key}
    upstream = LitellmUpstream("u", UpstreamSettings.model_validate(settings), Limits.model_validate({}))
    with pytest.raises(UpstreamUnavailable):
        await sent(upstream, chat(model, stream=stream))
    await upstream.aclose()


def _unused(_: object) -> int:
    return 9  # discard: nobody listens there


BEGUN: dict[str, Sequence[Any]] = {
    "anthropic": [*anthropic.start(), *anthropic.text("Hel", "lo")],
    "gemini": [head(), event(gemini.content(gemini.text_part("Hel"), finish=None))],
    "openai": [head(), event(role()), event(delta("Hel")), event(delta("lo"))],
    "hosted_vllm": [head(), event(role()), event(delta("Hel")), event(delta("lo"))],
}
IN_STREAM: dict[str, Sequence[Any]] = {
    "anthropic": anthropic.in_stream_error("overloaded_error", "Overloaded"),
    "gemini": [event({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}), end()],
    "openai": [event({"error": {"message": "Overloaded", "type": "server_error"}}), end()],
    "hosted_vllm": [event({"error": {"message": "Overloaded", "type": "server_error"}}), end()],
}


@every_provider
async def test_an_error_in_a_stream_is_unavailable_and_keeps_its_words(provider: str) -> None:
    raised = await failing(provider, [*BEGUN[provider], *IN_STREAM[provider]], stream=True)
    assert type(raised) is UpstreamUnavailable
    assert "Overloaded" in str(raised)


@every_provider
@pytest.mark.parametrize("last", [[reset()], [close()], [end()]], ids=["reset", "closed", "ended"])
async def test_a_stream_cut_short_is_unavailable(provider: str, last: Script) -> None:
    raised = await failing(provider, [*BEGUN[provider], *last], stream=True)
    assert type(raised) is UpstreamUnavailable


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai"])
async def test_a_key_in_a_providers_words_is_taken_out(provider: str) -> None:
    key = PROVIDERS[provider][1]
    raised = await failing(provider, error(401, f"key {key} is wrong, see https://x.test/?key={key}"), stream=False)
    assert "[redacted]" in str(raised)


@pytest.mark.parametrize(
    "message", [5, {"role": "user", "content": [5]}, {"role": "user", "content": [{"type": "no such"}]}], ids=str
)
async def test_a_request_litellm_cannot_translate_is_the_callers_fault_and_not_sent(message: Any) -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        with pytest.raises(UpstreamRejected) as caught:
            await sent(upstream, chat(gemini.MODEL, messages=[message]))
    assert caught.value.status == 400
    assert caught.value.detail is not None
    assert "github.com" not in str(caught.value)
    assert server.requests == []


async def test_an_image_on_a_private_host_is_not_fetched() -> None:
    async with (
        ScriptedUpstream() as private,
        gemini.FakeGemini() as server,
        through(server, "gemini", gemini.KEY) as upstream,
    ):
        parts = [{"type": "image_url", "image_url": {"url": f"{private.base_url}/secret.png"}}]
        with pytest.raises(UpstreamRejected, match="image"):
            await sent(upstream, chat(gemini.MODEL, messages=[{"role": "user", "content": parts}]))
    assert private.connections == 0
    assert server.requests == []


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai"])
async def test_a_missing_key_is_the_deployments_fault(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    upstream = LitellmUpstream(provider, UpstreamSettings.model_validate({}), Limits.model_validate({}))
    with pytest.raises(UpstreamRefused):
        await sent(upstream, chat(PROVIDERS[provider][2]))
    await upstream.aclose()


async def test_a_silent_server_is_given_up_in_the_end() -> None:
    limits = Limits.model_validate({"call_s": 0.05})
    async with (
        anthropic.FakeAnthropic() as server,
        through(server, "anthropic", anthropic.KEY, limits=limits) as upstream,
    ):
        server.will([hang()])
        with pytest.raises(UpstreamTimeout):
            await sent(upstream, chat(anthropic.MODEL))
        assert len(server.requests) == 1


async def test_an_embedding_that_fails_is_classified_too() -> None:
    async with gemini.FakeGemini() as server, through(server, "gemini", gemini.KEY) as upstream:
        server.will(gemini.error(429, "RESOURCE_EXHAUSTED", "slow down", headers=WAIT))
        with pytest.raises(UpstreamLimited) as caught:
            await sent(upstream, embed("gemini-embedding-001", input="a"))
    assert caught.value.retry_after_s == 7


@every_provider
async def test_a_cancellation_before_the_answer_is_a_cancellation(provider: str) -> None:
    make, key, model = PROVIDERS[provider]
    async with make() as server, through(server, provider, key) as upstream:
        await upstream.load()
        server.will([hang()])
        sending = asyncio.create_task(sent(upstream, chat(model)))
        request = await server.arrived()
        sending.cancel()
        async with asyncio.timeout(1):
            await request.hung_up.wait()
        with pytest.raises(asyncio.CancelledError):
            await sending
