"""The document: what is in it is what is served, and every reference leads somewhere. That it is true: test_conformance.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from proxy.call import Role
from proxy.edge import errors
from proxy.edge.access import ACCESS, Door, Keyless, Rule, served_at
from proxy.edge.admin.operations import OPERATIONS
from proxy.edge.errors import failure
from proxy.edge.openapi.document import document, path_of
from proxy.errors import BadRequest, UpstreamRejected

WHOLE = document(ACCESS)
OPERATION = {rule.name: WHOLE["paths"][path_of(rule)][rule.method.lower()] for rule in ACCESS}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (found for key, found in value.items() if key == "$ref")
        yield from (found for child in value.values() for found in references(child))
    if isinstance(value, list):
        yield from (found for child in value for found in references(child))


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    parts = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in WHOLE["components"][kind]}
    assert parts == set(references(WHOLE))


def test_it_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(WHOLE)) == WHOLE
    assert WHOLE["openapi"] == "3.1.0"


@pytest.mark.parametrize("door", [None, *Door])
def test_each_listener_describes_what_it_serves(door: Door | None) -> None:
    rules = served_at(door)
    told = {(method, path) for path, methods in document(rules)["paths"].items() for method in methods}

    assert told == {(rule.method.lower(), path_of(rule)) for rule in rules}


def test_names_of_operations_are_unique_and_none_has_a_kind_of_path_parameter() -> None:
    assert len({operation["operationId"] for operation in OPERATION.values()}) == len(ACCESS)
    assert "{id:path}" not in json.dumps(list(WHOLE["paths"]))


@pytest.mark.parametrize("rule", ACCESS, ids=lambda rule: rule.name)
def test_the_guards_answers_are_told_where_the_guard_stands(rule: Rule) -> None:
    operation = OPERATION[rule.name]
    statuses = set(operation["responses"])

    assert ("401" in statuses) == (rule.keyless is not Keyless.ANYBODY)
    assert "403" in statuses or set(rule.who) == set(Role)
    assert (operation.get("security") == []) == (rule.keyless is Keyless.ANYBODY)
    assert {"400", "408", "414", "417", "431", "500", "503"} <= statuses
    assert ({"413", "415"} <= statuses) == (rule.method == "POST")


def test_every_status_of_the_table_of_errors_is_told_of_some_route() -> None:
    told = {status for operation in OPERATION.values() for status in operation["responses"]}

    assert {str(status) for status, _ in errors._TABLE.values()} - told == {"405"}  # of methods that are not in it


def test_a_question_is_a_query_or_a_body_with_the_fields_that_are_known() -> None:
    for name, about in OPERATIONS.items():
        operation = OPERATION[name]
        asked = {parameter["name"] for parameter in operation["parameters"]}
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            shape = WHOLE["components"]["schemas"][reference.rpartition("/")[2]]
            asked = set(shape.get("properties", {}))
            assert shape["additionalProperties"] is False
        assert asked == set(about.question.model_fields)


def test_a_query_knows_no_null_and_no_default_of_it() -> None:
    parameters = {parameter["name"]: parameter for parameter in OPERATION["admin_calls"]["parameters"]}

    assert parameters["state"]["schema"] == {"enum": ["open", "closed", "refused"], "type": "string"}
    assert parameters["limit"]["schema"] == {"default": 50, "maximum": 500, "minimum": 1, "type": "integer"}
    assert parameters["user"]["schema"]["maxLength"] == 200
    assert not any(parameter["required"] for parameter in parameters.values())


def test_errors_have_the_shape_that_is_told() -> None:
    shape = WHOLE["components"]["schemas"]["Error"]["properties"]["error"]

    assert set(failure(BadRequest("no", param="x")).error) == set(shape["properties"]) == set(shape["required"])
    assert "4XX" in OPERATION["chat"]["responses"]
    assert failure(UpstreamRejected("no", status=418)).status == 418
