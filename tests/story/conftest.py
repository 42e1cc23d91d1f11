"""A proxy in front of a scripted upstream, both on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.testing import ScriptedUpstream
from proxy.testing.running import RunningProxy, running

POLICIES = """
- {kind: auth}
- {kind: rewrite, alias: {smart: gpt-4o}}
- {kind: energy, prices: energy.yaml}
- {kind: fallback, to: {gpt-4o: [gpt-4o-mini]}}
- {kind: retry, backoff_s: 0.01}
- {kind: timeout, first_content_s: 30, idle_s: 30}
"""

ENERGY = """
actions:
  ai_message: {premium: 10, economy: 3, n_max: 4}
  ai_scan: {premium: 15, economy: 5}
default_action: ai_message
classes:
  premium: [gpt-4o]
  economy: [gpt-4o-mini, text-embedding-3-small]
default_class: premium
downgrade: {premium: [gpt-4o-mini]}
plans: {free: {grant: 100}}
default_plan: free
"""

FILES = {"policies/default.yaml": POLICIES, "policies/energy.yaml": ENERGY}


def config(upstream: ScriptedUpstream, extra: str = "") -> str:
    return f"""
store: sqlite:///orch.db
durability: relaxed
upstreams:
  fake: {{base_url: "{upstream.base_url}", api_key: sk-upstream-canary, provider: openai}}
models:
  gpt-4o: {{deployments: [{{upstream: fake}}], price: {{input: 2.5, output: 10}}}}
  gpt-4o-mini: {{deployments: [{{upstream: fake}}], price: {{input: 0.15, output: 0.6}}}}
  text-embedding-3-small: {{deployments: [{{upstream: fake}}], operation: embeddings, price: {{input: 0.02}}}}
{extra}
"""


@pytest.fixture(autouse=True)
def prepared(store: Path) -> None:
    """Every story finds its store migrated."""


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def proxy(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running(tmp_path, config=config(upstream), files=FILES) as served:
        yield served
