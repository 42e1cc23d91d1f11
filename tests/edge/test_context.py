"""What the guard keeps of a request."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.call import Principal, Role, Trace
from proxy.edge.context import Context, context, keep, known

ANA = Principal(key_id="k", role=Role.USER, namespace="app", user="ana")


def test_a_request_has_no_context_until_its_caller_is_known() -> None:
    scope: dict[str, Any] = {"type": "http"}
    assert known(scope) is None
    with pytest.raises(AssertionError):
        context(scope)

    found = Context(request_id="id", principal=ANA, headers={}, trace=Trace(0.0))
    keep(scope, found)

    assert context(scope) is found
