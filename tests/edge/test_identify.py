"""Who calls and who pays."""

from __future__ import annotations

import pytest

from proxy.call import Account, Principal, Role
from proxy.edge.identify import credentials, payer, workspace
from proxy.errors import BadRequest, Forbidden, Unauthenticated

USER = Principal(key_id="k", role=Role.USER, namespace="app", user="ana", workspace="w1")
SERVICE = Principal(key_id="k", role=Role.SERVICE, namespace="app")
ADMIN = Principal(key_id="k", role=Role.ADMIN, namespace="app")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-orch-1_2"},
        {"authorization": "bearer  sk-orch-1_2 "},
        {"x-api-key": "sk-orch-1_2"},
        {"authorization": "Bearer sk-orch-1_2", "x-api-key": "other"},
    ],
)
def test_a_key_is_found(headers: dict[str, str]) -> None:
    assert credentials(headers) == "sk-orch-1_2"


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": " "}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer "}]
)
def test_no_key_says_how_to_send_one(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match=r"User not authenticated.*Bearer sk-orch"):
        credentials(headers)


def test_a_user_key_pays_for_its_user_whatever_the_body_says() -> None:
    assert payer(USER, header=None, body_user="a-hash") == Account("app", "ana")
    assert payer(USER, header="ana", body_user=None) == Account("app", "ana")


def test_a_user_key_may_not_name_another_user() -> None:
    with pytest.raises(Forbidden, match="another user"):
        payer(USER, header="ben", body_user=None)
    with pytest.raises(Forbidden) as refused:
        payer(USER, header="b" * 10_000, body_user=None)
    assert len(refused.value.message) < 300, "what was sent is repeated in part only"


def test_a_service_key_names_the_user_by_header_or_body() -> None:
    assert payer(SERVICE, header="ben", body_user=None) == Account("app", "ben")
    assert payer(SERVICE, header=None, body_user="ben") == Account("app", "ben")
    assert payer(SERVICE, header="ben", body_user="ben") == Account("app", "ben")


@pytest.mark.parametrize(("header", "body"), [("ana", "ben"), (None, None), ("", None), (None, ""), ("a\x00b", None)])
def test_a_service_key_that_names_no_user_or_two_is_told_so(header: str | None, body: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        payer(SERVICE, header=header, body_user=body)

    assert refused.value.param == "user"


def test_an_admin_key_pays_for_nobody() -> None:
    with pytest.raises(Forbidden, match="admin key"):
        payer(ADMIN, header="ana", body_user=None)


def test_a_workspace_is_the_keys_own_or_the_one_named() -> None:
    assert workspace(USER, None) == "w1"
    assert workspace(USER, "w1") == "w1"
    assert workspace(SERVICE, "w2") == "w2"
    assert workspace(SERVICE, None) is None
    with pytest.raises(Forbidden, match="another workspace"):
        workspace(USER, "w2")
