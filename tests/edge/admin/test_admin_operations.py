"""The table of operations: each has its rule, and says the status it answers with."""

from __future__ import annotations

from proxy.call import Role
from proxy.edge.access import ACCESS, Door, Keyless
from proxy.edge.admin.answers import KeyGone, UserOpened
from proxy.edge.admin.operations import OPERATIONS


def test_every_operation_is_for_admin_keys_behind_the_operators_door() -> None:
    rules = {rule.name: rule for rule in ACCESS if rule.path.startswith("/admin/")}

    assert rules.keys() == OPERATIONS.keys()
    assert all(set(rule.who) == {Role.ADMIN} for rule in rules.values())
    assert all((rule.keyless, rule.door) == (Keyless.NOBODY, Door.ADMIN) for rule in rules.values())


def test_no_operation_is_asked_with_a_users_name_in_its_path() -> None:
    assert {rule.path for rule in ACCESS if rule.path.startswith("/admin/") and "{" in rule.path} == {
        "/admin/calls/{id}"
    }


def test_a_status_says_whether_something_was_made() -> None:
    user = {"namespace": "app", "user": "ana", "plan": "free", "balance": 0, "held": 0, "available": 0}
    opening = OPERATIONS["admin_open_user"]

    assert [opening.status(UserOpened.model_validate({**user, "created": made})) for made in (True, False)] == [
        201,
        200,
    ]
    assert OPERATIONS["admin_revoke_key"].status(KeyGone(id="k")) == 200
    assert OPERATIONS["admin_make_key"].status(None) == 201
