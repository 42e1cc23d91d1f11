"""The nouns: changed by copying, never in place."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.call import Account, Deployment
from proxy.testing import Collected, fake_call


def test_a_call_asked_of_another_model_is_a_copy() -> None:
    call = fake_call(model="gpt-4o")

    other = call.on("gpt-4o-mini")

    assert (call.model, other.model) == ("gpt-4o", "gpt-4o-mini")
    assert other.trace is call.trace
    assert other.requested_model == call.requested_model


def test_a_call_that_replies_elsewhere_is_a_copy() -> None:
    call, elsewhere = fake_call(), Collected()

    assert call.replying_to(elsewhere).reply is elsewhere
    assert call.reply is not elsewhere


def test_a_call_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        fake_call().model = "gpt-5"  # type: ignore[misc]


def test_two_applications_users_of_the_same_name_are_two_accounts() -> None:
    assert Account("shop", "42").id != Account("crm", "42").id


def test_a_deployment_is_known_by_its_upstream_and_the_name_there() -> None:
    assert Deployment(upstream="azure", provider="openai", model="gpt-4o").id == "azure/gpt-4o"
