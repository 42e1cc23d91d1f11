"""From a request to a Call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.call import Account, Operation, Principal, Role, Trace
from proxy.config.settings import Limits
from proxy.edge.build import build, draft
from proxy.edge.context import Context
from proxy.edge.live import Version
from proxy.errors import BadRequest, Forbidden
from proxy.testing import fake_ports

USER = Principal(key_id="k", role=Role.USER, namespace="app", user="ana", workspace="w1")
SERVICE = Principal(key_id="k", role=Role.SERVICE, namespace="app")
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def _unreached(call: object) -> Any:
    raise AssertionError


VERSION = Version(handler=_unreached, ports=fake_ports(), limits=Limits(call_s=600), prices=None)


def _context(principal: Principal = USER, **headers: str) -> Context:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Context(request_id="id-1", principal=principal, headers=named, trace=Trace(1000.0))


def _build(body: dict[str, Any], principal: Principal = USER, **headers: str) -> Any:
    return build(_context(principal, **headers), VERSION, Operation.CHAT, json.dumps(body).encode())


def test_a_call_knows_who_pays_and_what_is_asked() -> None:
    call = _build(CHAT)

    assert (call.id, call.payer, call.workspace) == ("id-1", Account("app", "ana"), "w1")
    assert (call.model, call.requested_model, call.candidates) == ("gpt-4o", "gpt-4o", ("gpt-4o",))
    assert (call.stream, call.usage_wanted, call.auto_downgrade, call.deadline_at) == (False, False, True, 1600.0)


def test_the_action_comes_from_the_header_or_the_metadata() -> None:
    assert _build(CHAT, x_orch_action="ai_scan").action == "ai_scan"
    assert _build({**CHAT, "metadata": {"action": "ai_scan"}}).action == "ai_scan"
    assert _build(CHAT).action is None


def test_two_different_actions_are_refused() -> None:
    with pytest.raises(BadRequest, match="Name one action"):
        _build({**CHAT, "metadata": {"action": "ai_scan"}}, x_orch_action="ai_message")


def test_our_own_metadata_is_not_in_the_body_that_goes_on() -> None:
    call = _build({**CHAT, "metadata": {"action": "ai_scan", "prospect_id": "p", "theirs": "kept"}})

    assert call.body["metadata"] == {"theirs": "kept"}
    assert call.prospect == "p"


@pytest.mark.parametrize(("switch", "on"), [("on", True), ("OFF", False), ("false", False), ("1", True)])
def test_the_downgrade_is_switched_by_header(switch: str, on: bool) -> None:
    assert _build(CHAT, x_orch_auto_downgrade=switch).auto_downgrade is on


def test_a_client_may_shorten_its_deadline_but_not_lengthen_it() -> None:
    assert _build(CHAT, x_orch_timeout_s="2.5").deadline_at == 1002.5
    assert _build(CHAT, x_orch_timeout_s="9999").deadline_at == 1600.0


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_deadline_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(BadRequest, match="x-orch-timeout-s"):
        _build(CHAT, x_orch_timeout_s=wrong)


def test_usage_is_wanted_where_a_stream_asks_for_it() -> None:
    call = _build({**CHAT, "stream": True, "stream_options": {"include_usage": True}})

    assert (call.stream, call.usage_wanted) == (True, True)


def test_a_user_key_may_not_name_another_workspace() -> None:
    with pytest.raises(Forbidden):
        _build({**CHAT, "metadata": {"workspace_id": "w2"}})


def test_a_draft_knows_the_caller_and_the_user_it_named() -> None:
    call = draft(_context(SERVICE, x_orch_user="ben"), VERSION, Operation.CHAT)

    assert (call.id, call.payer, call.model) == ("id-1", Account("app", "ben"), "")


def test_embeddings_are_never_streamed_whatever_the_body_says() -> None:
    raw = b'{"model": "e", "input": "a", "stream": true}'

    assert build(_context(), VERSION, Operation.EMBEDDINGS, raw).stream is False
