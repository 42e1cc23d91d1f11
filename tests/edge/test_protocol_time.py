"""The receiving protocol over real sockets: what comes too late, and what comes behind an answer that still runs."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from proxy.config.settings import Limits
from proxy.edge.protocol import PIPELINED_MAX
from tests.edge.wire import WAIT_S, echo, refused, request, say, serving

LIMITS = Limits()
CHUNKED = request("transfer-encoding: chunked")


# --- time -------------------------------------------------------------------------------------------------------------

SHORT = Limits(head_s=0.1, body_s=0.1, keep_alive_s=0.1)


async def test_a_head_that_does_not_end_is_refused() -> None:
    async with serving(echo, SHORT) as server, server.client() as client:
        got = await client.asked(b"GET / HTTP/1.1\r\nhost: x\r\n")
        assert (got.status, got.json["error"]["code"]) == (408, "request_timeout")
        assert "head_s" in refused(got)
        assert await client.rest() == b""


async def test_a_head_that_never_ends_is_refused_however_often_a_byte_comes() -> None:
    async with serving(echo, Limits(head_s=0.1)) as server, server.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nhost: x\r\na: ")
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send(b"b")
            await asyncio.sleep(0.005)
        assert (await answer).status == 408


async def test_a_connection_on_which_nothing_begins_is_closed_without_a_word() -> None:
    async with serving(echo, SHORT) as server, server.client() as client:
        assert await client.rest() == b""


async def test_an_idle_connection_is_closed_without_a_word_after_its_own_time() -> None:
    async with serving(echo, Limits(head_s=300, keep_alive_s=0.05)) as server, server.client() as client:
        assert (await client.asked(request())).status == 200
        assert await client.rest() == b""


async def test_the_next_head_has_its_own_time() -> None:
    async with serving(echo, Limits(head_s=0.1, keep_alive_s=300)) as server, server.client() as client:
        assert (await client.asked(request())).status == 200
        assert (await client.asked(b"POST / ")).status == 408


async def test_a_head_that_began_behind_a_running_answer_is_timed_from_that_answers_end() -> None:
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await say(send, b"done")

    async with serving(slow, SHORT) as server, server.client() as client:
        await client.send(request() + b"GET / HT")
        await asyncio.sleep(0.3)  # longer than a head may take; the answer runs
        go_on.set()
        assert (await client.answer()).body == b"done"
        assert (await client.answer()).status == 408


async def test_a_body_that_pauses_too_long_is_refused_and_for_the_application_the_client_is_gone() -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        heard.set_result(message["type"])
        await say(send, b"an answer nobody should see")

    async with serving(reading, SHORT) as server, server.client() as client:
        got = await client.asked(request("content-length: 5") + b"he")
        assert (got.status, got.json["error"]["code"]) == (408, "request_timeout")
        assert "body_s" in refused(got)
        assert await client.rest() == b""
        assert await heard == "http.disconnect"


async def test_a_body_that_never_pauses_long_must_end_all_the_same() -> None:
    async with serving(echo, Limits(body_s=300, call_s=0.1)) as server, server.client() as client:
        await client.send(request("content-length: 1000000"))
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send(b"b")
            await asyncio.sleep(0.005)
        assert (await answer).status == 408


async def test_an_answer_that_takes_long_is_not_the_clients_fault() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.4)
        await say(send, b"done")

    async with serving(slow, SHORT) as server, server.client() as client:
        assert (await client.asked(request(body=b"hello"))).body == b"done"


# --- behind an answer that runs ---------------------------------------------------------------------------------------


class Held:
    """Answers when it is told to; counts whom it serves."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.gone = asyncio.Event()
        self.served: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served.append(scope["path"])
        self.begun.set()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(receive))
            await self.go_on.wait()
            watching.cancel()
        await say(send, scope["path"].encode())

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        self.go_on.set()


@pytest.mark.parametrize(
    "bad", [b"nonsense\r\n\r\n", CHUNKED + b"zz\r\n", request("expect: a")], ids=["head", "body", "expectation"]
)
async def test_a_bad_request_behind_a_good_one_is_refused_after_its_answer(bad: bytes) -> None:
    app = Held()
    async with serving(app, LIMITS) as server, server.client() as client:
        await client.send(request(path="/good") + request(path="/next") + bad)
        await app.begun.wait()
        app.go_on.set()

        assert (await client.answer()).body == b"/good"
        assert (await client.answer()).body == b"/next"
        assert refused(await client.answer())
        assert await client.rest() == b""
    assert app.served == ["/good", "/next"]


async def test_more_pipelined_requests_than_the_cap_are_refused() -> None:
    app = Held()
    async with serving(app, LIMITS) as server, server.client() as client:
        await client.send(request(method="GET") * (PIPELINED_MAX + 2))
        app.go_on.set()
        answers = [await client.answer() for _ in range(PIPELINED_MAX + 2)]
        assert [got.status for got in answers] == [200] * (PIPELINED_MAX + 1) + [400]
        assert str(PIPELINED_MAX) in refused(answers[-1])


async def test_a_client_that_leaves_with_requests_in_line_is_gone_for_the_one_that_runs() -> None:
    app = Held()
    async with serving(app, LIMITS) as server:
        async with server.client() as client:
            await client.send(request(path="/runs") + request(path="/waits"))
            await app.begun.wait()
        async with asyncio.timeout(WAIT_S):
            await app.gone.wait()
    assert app.served == ["/runs"]


async def test_the_server_stops_after_the_answer_that_runs() -> None:
    app = Held()
    async with serving(app, LIMITS) as server, server.client() as client, server.client() as idle:
        await client.send(request(path="/runs") + request(path="/waits"))
        await app.begun.wait()
        server.server.should_exit = True
        assert await idle.rest() == b""
        app.go_on.set()

        got = await client.answer()
        assert (got.body, got.headers["connection"]) == (b"/runs", "close")
        assert await client.rest() == b""
    assert app.served == ["/runs"]
