"""``orch serve`` with nothing configured: the providers whose keys are in the environment are offered, else the mock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from proxy.testing import ScriptedUpstream
from tests.processes import Served, closed, query, serving

KEY = "sk-proj-canary-of-the-zero-configuration"


@asynccontextmanager
async def proxy(directory: Path, **environ: str) -> AsyncIterator[tuple[Served, openai.AsyncOpenAI]]:
    """``orch serve`` in an empty directory, with these variables; and the SDK with a key of a user of its own."""
    async with serving(directory, environ=environ, database="data/orch.db") as served:
        key = await served.user_key("ana", energy=100)
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=key, max_retries=0) as client:
            yield served, client


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A directory without anything in it."""
    directory = tmp_path / "empty"
    directory.mkdir()
    return directory


async def test_a_providers_key_is_enough_to_offer_its_models(empty: Path, upstream: ScriptedUpstream) -> None:
    async with proxy(empty, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=upstream.base_url) as (served, client):
        offered = {model.id: model.owned_by async for model in client.models.list()}
        answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])

        assert answer.choices[0].message.content == "Hello there"
        (asked,) = upstream.requests
        row = await closed(served.database, str(asked.call_id))
    assert {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"} <= offered.keys()
    assert set(offered.values()) == {"openai"}
    assert (asked.headers["authorization"], asked.body["model"]) == (f"Bearer {KEY}", "gpt-4o")
    assert (row["provider"], row["points_charged"]) == ("openai", 10)
    assert row["cost_nanousd"] > 0
    assert "hint" not in served.child.out.text
    assert KEY not in served.child.out.text + served.child.err.text


async def test_without_any_key_the_mock_answers_and_a_hint_says_how_to_have_more(empty: Path) -> None:
    async with proxy(empty) as (served, client):
        answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].finish_reason == "stop"
        assert {model.id async for model in client.models.list()} >= {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}

        (row,) = query(served.database, "SELECT * FROM calls")
        (hint,) = [line for line in served.child.out.lines if line.startswith("hint:")]
    assert (row["provider"], row["points_charged"]) == ("mock", 10)
    assert "OPENAI_API_KEY" in hint
