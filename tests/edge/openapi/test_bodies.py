"""What calls take: the schemas let pass what the checks let pass, and no more where both look."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from proxy.call import Operation
from proxy.dialect.request import check
from proxy.edge.openapi.bodies import CHAT, EMBEDDINGS
from proxy.errors import BadRequest

MESSAGES = [{"role": "user", "content": "hi"}]
BODIES: list[tuple[Operation, dict[str, Any], bool]] = [
    (Operation.CHAT, {"model": "m", "messages": MESSAGES}, True),
    (Operation.CHAT, {"model": "m", "messages": MESSAGES, "anything": {"goes": 1}, "temperature": None}, True),
    (Operation.CHAT, {"model": "m", "messages": [{"role": "assistant", "content": None}]}, True),
    (Operation.CHAT, {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, True),
    (Operation.CHAT, {"model": "m", "messages": MESSAGES, "metadata": {"action": "a", "other": "x"}}, True),
    (Operation.CHAT, {"model": "", "messages": MESSAGES}, False),
    (Operation.CHAT, {"model": "m", "messages": []}, False),
    (Operation.CHAT, {"messages": MESSAGES}, False),
    (Operation.CHAT, {"model": "m", "messages": [{"role": "pirate", "content": "arr"}]}, False),
    (Operation.CHAT, {"model": "m", "messages": [{"role": "user", "content": 5}]}, False),
    (Operation.CHAT, {"model": "m", "messages": MESSAGES, "n": 0}, False),
    (Operation.CHAT, {"model": "m", "messages": MESSAGES, "stream": "yes"}, False),
    (Operation.CHAT, {"model": "m", "messages": MESSAGES, "metadata": {"other": 5}}, False),
    (Operation.EMBEDDINGS, {"model": "m", "input": "hi"}, True),
    (Operation.EMBEDDINGS, {"model": "m", "input": [[1, 2], [3]]}, True),
    (Operation.EMBEDDINGS, {"model": "m", "input": ""}, False),
    (Operation.EMBEDDINGS, {"model": "m", "input": []}, False),
    (Operation.EMBEDDINGS, {"model": "m", "input": {"text": "hi"}}, False),
]


@pytest.mark.parametrize(("operation", "body", "right"), BODIES)
def test_a_body_is_right_by_the_schema_when_it_is_by_the_check(
    operation: Operation, body: dict[str, Any], right: bool
) -> None:
    schema = CHAT if operation is Operation.CHAT else EMBEDDINGS

    assert Draft202012Validator(dict(schema)).is_valid(body) is right
    if right:
        check(body, operation)
    else:
        with pytest.raises(BadRequest):
            check(body, operation)
