"""What ``/metrics`` counts is what the books hold: calls of every ending, compared with sums over their records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.call import Role
from proxy.testing import (
    ScriptedUpstream,
    answer,
    completion,
    delta,
    error,
    event,
    finish,
    hang,
    head,
    reset,
    role,
    stream,
    tell,
    wait_for,
)
from proxy.testing.running import RunningProxy, running
from tests.processes import query, until
from tests.story.conftest import FILES, config
from tests.telemetry.deployed import expressions
from tests.telemetry.promql import asked
from tests.telemetry.scraped import Scraped

WAIT_S = 20
CHAT: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
CHEAP: Any = {**CHAT, "model": "gpt-4o-mini"}
STREAM: Any = {**CHEAP, "stream": True}
UNPRICED = """  mystery: {deployments: [{upstream: fake}], price: null}
limits: {body_bytes_max: 20000}
"""
STARTED = [head(), event(role()), event(delta("Hel"))]


async def scrape(proxy: RunningProxy, **headers: str) -> Scraped:
    """What is shown once the text of a second ago is forgotten."""
    proxy.parts.gateway.metrics._made_at = float("-inf")  # type: ignore[attr-defined]
    async with httpx.AsyncClient() as client:
        got = await client.get(f"{proxy.root_url}/metrics", headers=headers)
    assert got.status_code == 200
    return Scraped(got.text)


class Caller:
    """A user who makes calls of every kind."""

    def __init__(self, proxy: RunningProxy, upstream: ScriptedUpstream, client: httpx.AsyncClient) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.client = client

    async def post(self, body: Any, path: str = "/chat/completions", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(f"{self.proxy.base_url}{path}", content=content, headers=named)

    async def answered(self) -> None:
        cached = {"prompt_tokens": 30, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}}
        self.upstream.will(answer(completion(usage=cached)), answer(completion()))
        assert (await self.post(CHAT)).status_code == 200
        assert (await self.post(CHEAP)).status_code == 200
        assert (await self.post(STREAM)).status_code == 200
        self.upstream.will(stream(role(), delta("Hi"), finish()))  # says no usage: estimated
        assert (await self.post(STREAM)).status_code == 200
        vectors = {"model": "text-embedding-3-small", "input": "hi"}
        assert (await self.post(vectors, "/embeddings")).status_code == 200
        assert (await self.post({**CHAT, "model": "mystery"})).status_code == 200

    async def moved(self) -> None:
        self.upstream.will(error(500))  # the fallback answers
        assert (await self.post(CHAT)).status_code == 200
        self.upstream.will(error(500), error(500))  # the third attempt does
        assert (await self.post(CHEAP)).status_code == 200

    async def failed(self) -> None:
        self.upstream.will(error(500), error(429), error(500))
        assert (await self.post(CHEAP)).status_code in (429, 502)
        self.upstream.will(error(400))
        assert (await self.post(CHEAP)).status_code == 400
        self.upstream.will([*STARTED, reset()])
        assert "upstream_broke" in (await self.post(STREAM)).text
        self.upstream.will([hang()])
        assert (await self.post(CHEAP, x_orch_timeout_s="0.2")).status_code == 504
        self.upstream.will([*STARTED, hang()])
        assert "deadline_exceeded" in (await self.post(STREAM, x_orch_timeout_s="0.5")).text

    async def left(self) -> None:
        for script in ([], STARTED):
            reached = asyncio.Event()
            self.upstream.will([*script, tell(reached), hang()])
            asking = asyncio.ensure_future(self.post(STREAM))
            await reached.wait()
            if script:
                await asyncio.sleep(0.1)  # the content reaches the client: nobody tells when it has
            asking.cancel()
            await asyncio.wait((asking,))

    async def refused(self) -> None:
        assert (await self.post({**CHAT, "model": "gpt-9"})).status_code == 404
        assert (await self.post({**CHAT, "metadata": {"action": "no such action"}})).status_code == 400
        assert (await self.post(b"{")).status_code == 400
        assert (await self.post(b" " * 30_000)).status_code == 413
        assert (await self.post({}, "/responses")).status_code == 404
        assert (await self.post({**CHAT, "messages": []})).status_code == 400

    async def poor(self) -> None:
        key = await self.proxy.user_key("poor", energy=14)
        one, two = (
            await self.post(CHAT, authorization=f"Bearer {key}"),
            await self.post(CHAT, authorization=f"Bearer {key}"),
        )
        assert two.headers["x-orch-downgraded-from"] == "gpt-4o"
        assert (one.status_code, (await self.post(CHAT, authorization=f"Bearer {key}")).status_code) == (200, 429)


@pytest.fixture
async def counted(tmp_path: Path, upstream: ScriptedUpstream) -> Any:
    """Calls of every kind were made; the scrape, and the ledger's file."""
    async with running(tmp_path, config=config(upstream, UNPRICED), files=FILES) as proxy:
        key = await proxy.user_key("ana", energy=10_000, actions=frozenset({"ai_message", "embedding"}))
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        async with httpx.AsyncClient(headers=headers, timeout=WAIT_S) as client:
            caller = Caller(proxy, upstream, client)
            for part in (caller.answered, caller.moved, caller.failed, caller.left, caller.refused, caller.poor):
                await part()
            nobody = await client.get(f"{proxy.base_url}/models", headers={"authorization": "Bearer none"})
            assert nobody.status_code == 401
        await until(lambda: not query(proxy.database, "SELECT 1 FROM calls WHERE state = 'open'"))
        yield await scrape(proxy), proxy.database
        assert await proxy.parts.store.verify() == []


LABEL = """
COALESCE(model, CASE WHEN requested_model = '' THEN 'none'
    WHEN requested_model IN ('gpt-4o', 'gpt-4o-mini', 'text-embedding-3-small', 'mystery') THEN requested_model
    ELSE 'other' END)
"""
ACTION = "CASE WHEN action IS NULL THEN 'none' WHEN action IN ('ai_message', 'embedding') THEN action ELSE 'other' END"
OUTCOME = "CASE state WHEN 'refused' THEN 'refused' ELSE how END"


def sums(database: Path, expression: str, *groups: str, where: str = "1") -> dict[tuple[str, ...], float]:
    columns = ", ".join(groups)
    places = ", ".join(str(place + 1) for place in range(len(groups)))
    found = query(database, f"SELECT {columns}, {expression} AS total FROM calls WHERE {where} GROUP BY {places}")
    return {tuple(row.values())[:-1]: row["total"] for row in found if row["total"]}


async def test_metrics_are_the_sums_of_the_records(counted: tuple[Scraped, Path]) -> None:
    shown, database = counted
    closed = "state = 'closed'"

    calls = sums(database, "COUNT(*)", LABEL, ACTION, OUTCOME, "COALESCE(error, 'none')")
    assert shown.by("orch_calls_total", "model", "action", "outcome", "reason") == calls
    outcomes = {outcome for _, _, outcome, _ in calls}
    assert outcomes == {
        "answered",
        "failed",
        "broken",
        "overdue",
        "left_before_content",
        "left_after_content",
        "refused",
    }
    for metric, column in (
        ("held", "points_held"),
        ("charged", "points_charged - points_refunded"),
        ("voided", "points_held - points_charged + points_refunded"),
    ):
        wanted = sums(database, f"SUM({column})", LABEL, ACTION, where=closed)
        assert wanted, metric
        assert shown.by(f"orch_energy_{metric}_points_total", "model", "action") == wanted
    settled = query(database, "SELECT -SUM(points) AS points FROM entries WHERE kind <> 'grant'")[0]["points"]
    assert sum(shown.by("orch_energy_charged_points_total", "model").values()) == settled
    poor = "error = 'insufficient_energy'"
    assert shown.by("orch_energy_refused_points_total", "action") == sums(
        database, "SUM(points_required)", ACTION, where=poor
    )


async def test_tokens_and_cost_are_those_of_the_records(counted: tuple[Scraped, Path]) -> None:
    shown, database = counted
    for direction in ("input", "output", "cached_input"):
        wanted = {
            (model, direction): sum_ for (model,), sum_ in sums(database, f"SUM({direction}_tokens)", LABEL).items()
        }
        assert wanted
        assert wanted.items() <= shown.by("orch_tokens_total", "model", "direction").items()
    assert shown.by("orch_cost_nanodollars_total", "model") == sums(database, "SUM(cost_nanousd)", LABEL)
    unknown = "input_tokens IS NOT NULL AND cost_nanousd IS NULL"
    assert (
        shown.by("orch_cost_unknown_calls_total", "model")
        == {("mystery",): 1}
        == sums(database, "COUNT(*)", LABEL, where=unknown)
    )
    estimated = sums(database, "SUM(usage_estimated)", LABEL)
    assert shown.by("orch_usage_estimated_calls_total", "model") == estimated
    assert estimated


async def test_attempts_retries_fallbacks_and_downgrades_are_those_of_the_records(
    counted: tuple[Scraped, Path],
) -> None:
    shown, database = counted
    attempts = query(
        database,
        "SELECT a.value ->> 'upstream' || '/' || (a.value ->> 'upstream_model') AS deployment,"
        " COALESCE(a.value ->> 'error', 'none') AS error, COUNT(*) AS total"
        " FROM calls, json_each(calls.attempts) a GROUP BY 1, 2",
    )
    assert shown.by("orch_upstream_attempts_total", "deployment", "error") == {
        (row["deployment"], row["error"]): row["total"] for row in attempts
    }
    moved = query(database, "SELECT json_array_length(attempts) - 1 AS more FROM calls WHERE attempts IS NOT NULL")
    retries = shown.by("orch_upstream_retries_total", "kind")
    fallbacks = shown.by("orch_upstream_fallbacks_total", "from_model", "to_model")
    assert fallbacks == {("gpt-4o", "gpt-4o-mini"): 1}
    assert sum(retries.values()) + 1 == sum(max(0, row["more"]) for row in moved)
    downgrades = sums(database, "COUNT(*)", "downgraded_from", "model", where="downgraded_from IS NOT NULL")
    assert shown.by("orch_downgrades_total", "from_model", "to_model") == downgrades == {("gpt-4o", "gpt-4o-mini"): 1}


async def test_times_are_counted_once_a_call(counted: tuple[Scraped, Path]) -> None:
    shown, database = counted
    ended = sums(database, "COUNT(*)", LABEL, where="state = 'closed'")
    assert shown.by("orch_call_duration_seconds_count", "model") == ended
    assert shown.value("orch_call_overhead_seconds_count") == sum(ended.values())
    contents = sums(database, "COUNT(first_content_ms)", LABEL)
    assert shown.by("orch_call_first_content_seconds_count", "model") == contents
    recorded_ms = query(database, "SELECT SUM(duration_ms) AS ms, COUNT(*) AS n FROM calls WHERE state = 'closed'")[0]
    seconds = sum(shown.by("orch_call_duration_seconds_sum", "model").values())
    assert abs(seconds - recorded_ms["ms"] / 1000) < 1.0  # what is not in the record: the commit, the rounding


async def test_gauges_tell_of_the_store_and_the_configuration(counted: tuple[Scraped, Path]) -> None:
    shown, database = counted
    assert shown.value("orch_store_up") == 1
    assert shown.value("orch_open_calls") == shown.value("orch_open_points_held") == 0
    assert shown.value("orch_calls_running") == 0
    assert shown.value("orch_accounts") == query(database, "SELECT COUNT(*) AS n FROM accounts")[0]["n"]
    assert shown.value("orch_store_bytes", file="database") == database.stat().st_size
    assert shown.value("orch_journal_commit_seconds_count") > 10
    assert shown.value("orch_config_last_reload_ok") == 1
    assert shown.by("orch_strangers_total", "reason") == {("invalid_api_key",): 1}
    versions = {labels["policy_version"] for labels, _ in shown.of("orch_config_info")}
    assert versions == {row["version"] for row in query(database, "SELECT version FROM policy_versions")}


OF_PROMETHEUS = {"job", "instance"}


async def test_the_dashboard_and_the_alerts_ask_for_what_is_served(counted: tuple[Scraped, Path]) -> None:
    shown, _ = counted
    labels: dict[str, set[str]] = {"up": set()}
    for name, known in shown.samples:
        labels.setdefault(name, set()).update(label for label, _ in known)
    for where, expression in expressions().items():
        seen = asked(expression)
        assert seen.metrics <= labels.keys(), where
        for name, selected in seen.selected:
            assert selected <= labels[name] | OF_PROMETHEUS, where
        assert seen.grouped <= set().union(*(labels[name] for name in seen.metrics)) | OF_PROMETHEUS, where


async def test_no_label_tells_who_called(counted: tuple[Scraped, Path]) -> None:
    shown, database = counted
    names = {label for _, labels in shown.samples for label, _ in labels}
    assert names.isdisjoint({"user", "key", "account", "namespace", "call", "workspace"})
    for row in query(database, "SELECT id, account, user_id, key_id FROM calls"):
        for value in (row["id"], row["account"], row["key_id"], '"ana"', '"poor"'):
            assert value not in shown.text
    assert "gpt-9" not in shown.text
    assert "no such action" not in shown.text


async def test_an_open_call_shows_while_it_runs(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    reached = asyncio.Event()
    upstream.will([tell(reached), hang()])
    headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}
    async with httpx.AsyncClient(headers=headers) as client:
        asking = asyncio.ensure_future(client.post(f"{proxy.base_url}/chat/completions", json=CHAT))
        await reached.wait()
        shown = await scrape(proxy)
        asking.cancel()
        await asyncio.wait((asking,))

    assert shown.value("orch_open_calls") == shown.value("orch_calls_running") == 1
    assert shown.value("orch_open_points_held") == 10
    assert shown.value("orch_open_call_oldest_seconds") >= 0


async def test_an_open_breaker_shows(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.always(error(500))
    headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}
    async with httpx.AsyncClient(headers=headers) as client:
        for _ in range(3):
            await client.post(f"{proxy.base_url}/chat/completions", json=CHEAP)

    shown = await scrape(proxy)
    assert shown.value("orch_upstream_breaker", deployment="fake/gpt-4o-mini", state="open") == 1
    assert shown.value("orch_upstream_breaker", deployment="fake/gpt-4o-mini", state="closed") == 0


async def test_whoever_is_not_near_needs_an_admin_key(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    closed = config(upstream, "metrics: {public: false}")
    async with running(tmp_path, config=closed, files=FILES) as proxy, httpx.AsyncClient() as client:
        url = f"{proxy.root_url}/metrics"
        assert (await client.get(url)).status_code == 401
        user = await proxy.user_key("ana")
        assert (await client.get(url, headers={"authorization": f"Bearer {user}"})).status_code == 403
        admin = await proxy.key(role=Role.ADMIN)
        assert (await client.get(url, headers={"authorization": f"Bearer {admin}"})).status_code == 200


async def test_what_a_reverse_proxy_forwards_is_not_near(proxy: RunningProxy) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{proxy.root_url}/metrics")).status_code == 200
        forwarded = await client.get(f"{proxy.root_url}/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    assert forwarded.status_code == 401


async def test_an_edit_that_is_refused_shows_and_a_good_one_mends_it(proxy: RunningProxy) -> None:
    folder = proxy.database.parent
    good = (folder / "config.yaml").read_text()
    before = await scrape(proxy)
    for text, ok in ((good + "nonsense: 1\n", 0), (good + "limits: {calls_max: 7}\n", 1)):
        (folder / "config.yaml").write_text(text)
        proxy.reload_asked.set()
        async with asyncio.timeout(WAIT_S):
            while (shown := await scrape(proxy)).value("orch_config_last_reload_ok") != ok:
                await asyncio.sleep(0.02)

    assert before.value("orch_config_reloads_total", result="applied") == 0
    assert shown.value("orch_config_reloads_total", result="refused") >= 1
    assert shown.value("orch_config_reloads_total", result="applied") == 1


async def test_while_the_store_is_away_the_metrics_say_so(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    headers = {"authorization": f"Bearer {await proxy.user_key('ana', energy=100)}"}
    proxy.parts.gateway.journal._close_wait_s = 0.3  # type: ignore[attr-defined]
    moment, reached = asyncio.Event(), asyncio.Event()
    upstream.will([tell(reached), wait_for(moment), *answer(completion())])
    async with httpx.AsyncClient(headers=headers, timeout=WAIT_S) as client:
        asking = asyncio.ensure_future(client.post(f"{proxy.base_url}/chat/completions", json=CHAT))
        await reached.wait()
        with contextlib.closing(sqlite3.connect(proxy.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            moment.set()
            assert (await asking).status_code == 503
            assert (await client.post(f"{proxy.base_url}/chat/completions", json=CHAT)).status_code == 503
            shown = await scrape(proxy)

    assert shown.value("orch_store_up") == 0
    assert shown.value("orch_journal_failures_total") >= 1
    outcomes = shown.by("orch_calls_total", "outcome", "reason")
    assert outcomes == {("not_recorded", "not_recorded"): 1, ("refused", "journal_unavailable"): 1}
    assert shown.by("orch_energy_charged_points_total", "model") == {}
