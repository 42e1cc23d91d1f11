"""What the stories of the LiteLLM route share: a proxy between the OpenAI SDK and loopback servers of Anthropic and Gemini."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from proxy.testing.running import RunningProxy
from tests.processes import broken, closed, query
from tests.upstream import fake_anthropic as anthropic
from tests.upstream import fake_gemini as gemini

CLAUDE, GEMINI = anthropic.MODEL, gemini.MODEL
PAIRED = "claude-or-gemini"
EMBEDDER = "gemini-embedding-001"
PRICES = {CLAUDE: 10, GEMINI: 3}
ENERGY_AT_START = 100
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
FILES = {
    "policies/default.yaml": f"""
- {{kind: auth}}
- {{kind: energy, prices: energy.yaml}}
- {{kind: fallback, to: {{{PAIRED}: [{GEMINI}]}}}}
- {{kind: retry, backoff_s: 0.01, rate_limit_factor: 1}}
- {{kind: timeout, first_content_s: 30, idle_s: 30}}
""",
    "policies/energy.yaml": f"""
actions:
  ai_message: {{premium: 10, economy: 3, n_max: 4}}
default_action: ai_message
classes: {{premium: [{CLAUDE}, {PAIRED}], economy: [{GEMINI}, {EMBEDDER}]}}
default_class: premium
plans: {{free: {{grant: {ENERGY_AT_START}}}}}
default_plan: free
""",
}


@dataclass(frozen=True, slots=True)
class World:
    """The proxy, the SDK with a user's key, and the two providers."""

    proxy: RunningProxy
    sdk: openai.AsyncOpenAI
    claude: anthropic.FakeAnthropic
    google: gemini.FakeGemini

    def provider(self, model: str) -> anthropic.FakeAnthropic | gemini.FakeGemini:
        return self.claude if model == CLAUDE else self.google

    async def chunks(self, model: str, **more: Any) -> list[ChatCompletionChunk]:
        stream = await self.sdk.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **more
        )
        return [chunk async for chunk in stream]

    async def row(self) -> dict[str, Any]:
        """The row of the only call, closed; one upstream request for each attempt of it, and the books are right."""
        requests = [*self.claude.requests, *self.google.requests]
        (call_id,) = {request.call_id for request in requests}
        row = await closed(self.proxy.database, str(call_id))
        assert len(json.loads(row["attempts"])) == len(requests)
        assert await broken(self.proxy.database) == []
        (account,) = query(self.proxy.database, "SELECT balance, held FROM accounts")
        assert (account["balance"], account["held"]) == (ENERGY_AT_START - row["points_charged"], 0)
        return row


def config(claude: anthropic.FakeAnthropic, google: gemini.FakeGemini) -> str:
    return f"""
store: sqlite:///orch.db
durability: relaxed
upstreams:
  claude: {{provider: anthropic, via: litellm, base_url: "{claude.base_url}", api_key: {anthropic.KEY}}}
  google: {{provider: gemini, via: litellm, base_url: "{google.base_url}", api_key: {gemini.KEY}}}
models:
  {CLAUDE}: {{deployments: [{{upstream: claude}}], price: {{input: 3, output: 15, cached_input: 0.3}}}}
  {PAIRED}: {{deployments: [{{upstream: claude, model: {CLAUDE}}}]}}
  {GEMINI}: {{deployments: [{{upstream: google}}], price: {{input: 0.3, output: 2.5, cached_input: 0.03}}}}
  {EMBEDDER}: {{deployments: [{{upstream: google}}], operation: embeddings, price: {{input: 0.15}}}}
"""
