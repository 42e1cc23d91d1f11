"""The alerts of docs/operating.md: every metric they are made on is one that a running proxy tells."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from proxy.testing import ScriptedUpstream
from proxy.testing.running import running
from tests.docs_reading import ROOT, coded, rows

CONFIG = """
store: sqlite:///orch.db
durability: relaxed
upstreams: {{fake: {{base_url: "{url}", api_key: sk-none, provider: openai}}}}
models: {{gpt-4o: {{deployments: [{{upstream: fake}}], price: {{input: 2.5}}}}}}
"""


async def test_every_alert_is_on_a_metric_that_is_told(tmp_path: Path, store: Path) -> None:
    conditions = [row[0] for row in rows((ROOT / "docs/operating.md").read_text(), "alert when | it means")]
    codes = " ".join(code for condition in conditions for code in coded(condition))
    named = set(re.findall(r"orch_\w+", codes))
    async with (
        ScriptedUpstream() as upstream,
        running(tmp_path, config=CONFIG.format(url=upstream.base_url)) as proxy,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        key = await proxy.user_key("ana", energy=100)
        asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
        await client.post(f"{proxy.base_url}/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"})
        told = (await client.get(f"{proxy.root_url}/metrics")).text

    assert len(named) >= len(conditions)
    assert {name for name in named if f"\n# TYPE {name} " not in f"\n{told}"} == set()
    assert 'outcome="answered"' in told
    assert re.search(r'orch_upstream_breaker\{deployment="[^"]+",state="open"\} 0', told)
