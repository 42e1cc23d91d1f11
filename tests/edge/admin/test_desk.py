"""What a back end does over HTTP: accounts, grants, keys, calls, reports, the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from proxy.edge.admin.desk import Desk
from proxy.edge.admin.questions import Nothing
from proxy.errors import JournalUnavailable
from proxy.journal.admin import DirectAdmin
from proxy.journal.listing import Totals
from proxy.testing import NullJournal
from tests.edge.admin.conftest import BackEnd
from tests.edge.test_asgi import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS = [
    "a/b",
    "../x",
    "..",
    ".",
    "a%2Fb",
    "a%b",
    "ä ö/ü",
    "山田太郎",
    "a?b&c=d#e",
    "o'hara; drop",
    "ana+1@example.com",
    "a\\b",
]


@pytest.mark.parametrize("user", USERS)
async def test_a_user_may_have_any_printable_name(backend: BackEnd, user: str) -> None:
    opened = await backend.post("/users", user=user, points=40)
    again = await backend.post("/users", user=user, points=40)
    granted = await backend.post("/users/grants", user=user, points=2, source_ref=f"invoice of {user}")
    shown = await backend.get("/users/show", user=user)
    entries = await backend.get("/users/history", user=user)
    energy = await backend.client.get("/v1/energy", params={"user": user, "namespace": "app"})

    assert [answer.status_code for answer in (opened, again, granted, shown, entries, energy)] == [
        201,
        200,
        200,
        200,
        200,
        200,
    ]
    assert {answer.json()["user"] for answer in (opened, again, granted, shown, energy)} == {user}
    assert [(entry["points"], entry["balance_after"]) for entry in entries.json()["data"]] == [(2, 42), (40, 40)]
    assert energy.json()["available"] == 42


async def test_an_account_is_opened_once(backend: BackEnd) -> None:
    first = (await backend.post("/users", user="once", namespace="shop", plan="free", points=7)).json()
    again = (await backend.post("/users", user="once", namespace="shop", plan="free", points=7)).json()
    other = await backend.post("/users", user="once", namespace="shop", plan="free", points=8)

    assert (first.pop("created"), again.pop("created")) == (True, False)
    assert first == again
    assert first == {
        "object": "user",
        "namespace": "shop",
        "user": "once",
        "plan": "free",
        "balance": 7,
        "held": 0,
        "available": 7,
    }
    assert (other.status_code, other.json()["error"]["code"]) == (409, "user_exists")
    assert "POST /admin/users/grants" in other.json()["error"]["message"]


async def test_an_account_opens_with_what_its_plan_grants(backend: BackEnd) -> None:
    assert (await backend.post("/users", user="planned")).json()["balance"] == 100
    wrong = await backend.post("/users", user="golden", plan="gold")

    assert wrong.status_code == 400
    assert wrong.json()["error"]["message"] == "there is no plan 'gold'; there are free"


async def test_a_reference_counts_once(backend: BackEnd) -> None:
    await backend.post("/users", user="ref", points=1)
    asked = {"user": "ref", "points": 10, "reason": "thanks", "source_ref": "invoice-1"}

    twice = [(await backend.post("/users/grants", **asked)).json()["balance"] for _ in range(2)]
    other = await backend.post("/users/grants", **{**asked, "points": 11})
    shown = (await backend.get("/users/show", user="ref")).json()

    assert twice == [11, 11]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "source_ref_taken")
    assert [(grant["amount"], grant["reason"], grant["source_ref"]) for grant in shown["grants"]][1:] == [
        (10, "thanks", "invoice-1")
    ]


@pytest.mark.parametrize(
    ("verb", "path"), [("get", "/users/show"), ("get", "/users/history"), ("post", "/users/grants")]
)
async def test_a_user_that_is_not_there_is_404_with_what_to_do(backend: BackEnd, verb: str, path: str) -> None:
    more = {"points": 1} if verb == "post" else {}
    got = await getattr(backend, verb)(path, user="nobody; `x`", **more)

    assert got.status_code == 404
    assert got.json()["error"]["code"] == "unknown_user"
    assert got.json()["error"]["message"] == (
        "There is no user 'nobody; `x`' in namespace 'app'. POST /admin/users opens an account."
    )


async def _pages(backend: BackEnd, path: str, cursor: str, **query: Any) -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    last: Mapping[str, Any] = {}
    while True:
        page = (await backend.get(path, **query, **last)).json()
        pages.append(page["data"])
        if page["next"] is None:
            return pages
        last = {cursor: page["next"]}


async def test_lists_come_in_pages_and_every_row_once(backend: BackEnd) -> None:
    names = [f"user {number}" for number in range(5)]
    for name in names:
        await backend.post("/users", user=name, namespace="paged", points=5)
    for _ in range(4):
        await backend.post("/users/grants", user=names[0], namespace="paged", points=1)

    users = await _pages(backend, "/users", "after", namespace="paged", limit=2)
    entries = await _pages(backend, "/users/history", "before", user=names[0], namespace="paged", limit=2)

    assert [[row["user"] for row in page] for page in users] == [names[0:2], names[2:4], names[4:]]
    assert [[row["balance_after"] for row in page] for page in entries] == [[9, 8], [7, 6], [5]]


async def test_a_key_is_told_once_and_works_until_it_is_revoked(backend: BackEnd) -> None:
    made = await backend.post("/keys", role="user", user="kim", name="phone")
    listed = await backend.get("/keys")
    shown = next(row for row in listed.json()["data"] if row["id"] == made.json()["id"])

    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert made.json()["key"].startswith("sk-orch-")
    assert made.json()["key"].rpartition("_")[2] not in listed.text
    assert shown == {name: value for name, value in made.json().items() if name != "key"}
    assert (await backend.call(made.json()["key"])).status_code == 200
    assert (await backend.post("/keys/revoke", key_id=shown["id"])).json() == {"id": shown["id"], "revoked": True}
    assert (await backend.call(made.json()["key"])).status_code == 401


async def test_a_key_is_rotated_with_and_without_a_grace(backend: BackEnd) -> None:
    first = (await backend.post("/keys", role="user", user="lee", actions=["ai_message"])).json()

    second = (await backend.post("/keys/rotate", key_id=first["id"], grace_s=60)).json()
    both = [(await backend.call(key["key"])).status_code for key in (first, second)]
    third = (await backend.post("/keys/rotate", key_id=second["id"])).json()
    after = [(await backend.call(key["key"])).status_code for key in (second, third)]
    late = await backend.post("/keys/rotate", key_id=second["id"])
    never = await backend.post("/keys/rotate", key_id="0" * 16)

    assert (both, after) == ([200, 200], [401, 200])
    assert third["actions"] == ["ai_message"]
    assert (late.status_code, late.json()["error"]["code"]) == (409, "key_revoked")
    assert (never.status_code, never.json()["error"]["code"]) == (404, "unknown_key")
    assert "`orch" not in late.text + never.text


async def test_an_erased_user_is_gone_and_the_books_are_whole(backend: BackEnd) -> None:
    key = (await backend.post("/keys", role="user", user="mia", namespace="gone")).json()
    call_id = (await backend.call(key["key"])).headers["x-request-id"]

    erased = (await backend.post("/users/erase", user="mia", namespace="gone")).json()
    again = (await backend.post("/users/erase", user="mia", namespace="gone")).json()

    (left,) = (await backend.get("/users", namespace="gone")).json()["data"]
    assert (erased["keys"], erased["calls"]) == ([key["id"]], 1)
    assert left["user"] == erased["pseudonym"]
    assert again["pseudonym"] is None
    assert (await backend.get(f"/calls/{call_id}")).json()["user_id"] == erased["pseudonym"]
    assert (await backend.call(key["key"])).status_code == 401
    assert await backend.proxy.parts.store.verify() == []


async def test_calls_are_found_by_what_they_are(backend: BackEnd) -> None:
    key = (await backend.post("/keys", role="service", namespace="calls")).json()
    asked = [("ned", "ai_message", 200), ("ned", "ai_scan", 200), ("ola", "ai_message", 200), ("ola", "nonsense", 400)]
    for user, action, status in asked:
        assert (await backend.call(key["key"], user=user, metadata={"action": action})).status_code == status

    async def found(**wanted: Any) -> list[tuple[str, str]]:
        page = (await backend.get("/calls", namespace="calls", **wanted)).json()
        return [(row["user_id"], row["action"]) for row in page["data"]]

    newest_first = [(user, action) for user, action, _ in reversed(asked)]
    assert await found() == newest_first
    assert await found(user="ned") == [("ned", "ai_scan"), ("ned", "ai_message")]
    assert await found(action="ai_scan") == [("ned", "ai_scan")]
    assert await found(state="refused") == [("ola", "nonsense")]
    assert await found(error="unknown_action", key=key["id"]) == [("ola", "nonsense")]
    assert len(await found(how="answered", model="gpt-4o-mini")) == 3
    assert await found(until=0) == []
    assert [len(page) for page in await _pages(backend, "/calls", "before", namespace="calls", limit=3)] == [3, 1]


async def test_calls_can_be_followed(backend: BackEnd) -> None:
    key = (await backend.post("/keys", role="user", user="pia", namespace="live")).json()
    first = (await backend.call(key["key"])).headers["x-request-id"]

    none = (await backend.get("/calls", namespace="live", after=first)).json()
    second = (await backend.call(key["key"])).headers["x-request-id"]
    fresh = (await backend.get("/calls", namespace="live", after=none["next"])).json()
    both = await backend.get("/calls", before=first, after=first)

    assert (none["data"], none["next"]) == ([], first)
    assert ([row["id"] for row in fresh["data"]], fresh["next"]) == ([second], second)
    assert both.status_code == 400


async def test_one_call_is_told_whole(backend: BackEnd) -> None:
    key = (await backend.post("/keys", role="user", user="quy", namespace="one")).json()
    metadata = {"workspace_id": "w7", "prospect_id": "p42"}
    call_id = (await backend.call(key["key"], metadata=metadata)).headers["x-request-id"]

    shown = (await backend.get(f"/calls/{call_id}")).json()
    own = (await backend.client.get(f"/v1/calls/{call_id}")).json()

    assert {name: shown[name] for name in own} == own
    whose = {name: shown[name] for name in ("namespace", "user_id", "workspace", "prospect", "key_id", "stream")}
    assert whose == {
        "namespace": "one",
        "user_id": "quy",
        "workspace": "w7",
        "prospect": "p42",
        "key_id": key["id"],
        "stream": False,
    }
    assert (await backend.get("/calls/none")).json()["error"]["code"] == "call_not_found"


async def test_usage_is_counted_by_what_is_named(backend: BackEnd) -> None:
    key = (await backend.post("/keys", role="service", namespace="sums")).json()
    for user in ("rob", "rob", "sue"):
        await backend.call(key["key"], user=user)

    by_user = (await backend.get("/reports/usage", namespace="sums", by=["user", "action"])).json()["data"]
    whole = (await backend.get("/reports/usage", namespace="sums")).json()["data"]

    assert [(row["key"], row["answered"], row["points_charged"]) for row in by_user] == [
        ({"namespace": "sums", "user": user, "action": "ai_message"}, calls, 3 * calls)
        for user, calls in (("rob", 2), ("sue", 1))
    ]
    assert [(row["key"], row["calls"], row["points_charged"]) for row in whole] == [({}, 3, 9)]


async def test_a_reload_says_what_is_wrong_and_what_is_live(backend: BackEnd) -> None:
    prices = backend.proxy.database.parent / "policies/energy.yaml"
    good = prices.read_text()
    before = (await backend.get("/health")).json()["policy"]

    prices.write_text(good.replace("default_plan: free", "default_plan: gold"))
    refused = (await backend.post("/reload")).json()
    prices.write_text(good)
    taken = (await backend.post("/reload")).json()

    assert refused["policy_version"] == before
    assert "gold" in refused["problems"][0]
    assert (taken["policy_version"], taken["problems"]) == (before, [])


async def test_health_says_what_runs_and_what_is_in_the_books(backend: BackEnd) -> None:
    shown = (await backend.get("/health")).json()

    assert (shown["status"], shown["calls_running"]) == ("ok", 0)
    assert shown["books"]["open_calls"] == 0
    assert shown["books"]["accounts"] > 0


class Away:
    async def totals(self) -> Totals:
        raise JournalUnavailable("the store is away")


async def test_health_is_told_without_a_store_too() -> None:
    desk = Desk(gateway=gateway_of(NullJournal()), admin=cast(DirectAdmin, None), books=cast(Any, Away()))

    shown = await desk.health(Nothing())

    assert (shown.status, shown.books) == ("store unavailable", None)
