"""The document: rules and descriptions in, OpenAPI 3.1 out. Source: https://spec.openapis.org/oas/v3.1.1.html"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from proxy import __version__
from proxy.call import Role
from proxy.edge.access import Keyless, Rule
from proxy.edge.errors import status_of
from proxy.edge.openapi.described import JSON, Content, Described, Shape, described
from proxy.edge.openapi.headers import ERROR_HEADERS, HEADERS, REQUEST_ID
from proxy.errors import (
    BadRequest,
    BodyTooLarge,
    EnergyExhausted,
    ExpectationFailed,
    Forbidden,
    HeadTooLarge,
    JournalUnavailable,
    OrchError,
    Overloaded,
    RequestTimeout,
    TargetTooLong,
    Unauthenticated,
    UnsupportedMedia,
)

VERSION = "3.1.0"
ANY_REQUEST = (BadRequest, RequestTimeout, TargetTooLong, ExpectationFailed, HeadTooLarge, Overloaded, OrchError)
WITH_KEY = (Unauthenticated, JournalUnavailable)
WITH_BODY = (BodyTooLarge, UnsupportedMedia)

ABOUT = (
    """An OpenAI-compatible proxy with exact energy balances. What is not named of calls is as OpenAI documents it."""
)

_WORD = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _WORD,
                "code": {"type": "string"},
            },
        }
    },
}
_RELAYED = {
    "description": "An error of ours, or the provider's own with all that it says.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}},
    },
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this proxy: sk-orch-…"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
}


def document(rules: Sequence[Rule]) -> dict[str, Any]:
    """The interface that these rules serve."""
    known = [(rule, described(rule.name, rule.method)) for rule in rules]
    schemas = _schemas([about for _, about in known])
    paths: dict[str, dict[str, Any]] = {}
    for rule, about in known:
        paths.setdefault(path_of(rule), {})[rule.method.lower()] = _operation(rule, about, schemas)
    return {
        "openapi": VERSION,
        "info": {"title": "AI Orchestrator", "version": __version__, "description": ABOUT},
        "security": [{name: []} for name in _SCHEMES],
        "tags": [{"name": tag} for tag in dict.fromkeys(about.tag for _, about in known)],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, "RelayedError": _RELAYED, **schemas.definitions},
            "headers": {name: dict(header) for name, header in HEADERS.items()},
            "securitySchemes": _SCHEMES,
        },
    }


def path_of(rule: Rule) -> str:
    """OpenAPI knows no kinds of path parameters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", rule.path)


class _Schemas:
    """The JSON schemas of all models, those of a name once."""

    def __init__(self, taken: Iterable[type[BaseModel]], given: Iterable[type[BaseModel]]) -> None:
        asked = [*((model, "validation") for model in taken), *((model, "serialization") for model in given)]
        self._refs, found = models_json_schema(asked, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        self.definitions: dict[str, Any] = found.get("$defs", {})

    def taken(self, shape: Shape) -> Mapping[str, Any]:
        return self._refs[shape, "validation"] if isinstance(shape, type) else dict(shape)

    def given(self, shape: Shape) -> Mapping[str, Any]:
        return self._refs[shape, "serialization"] if isinstance(shape, type) else dict(shape)


def _schemas(known: Sequence[Described]) -> _Schemas:
    taken = [one.body for one in known if isinstance(one.body, type)]
    given = [
        shape
        for one in known
        for content in one.answers.values()
        for shape in content.values()
        if isinstance(shape, type)
    ]
    return _Schemas(dict.fromkeys(taken), dict.fromkeys(given))


def _operation(rule: Rule, about: Described, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": rule.name,
        "summary": about.summary,
        "description": _who(rule),
        "tags": [about.tag],
        "parameters": [*_path_parameters(rule), *map(dict, about.parameters), *_query_parameters(rule, about.query)],
        "responses": _responses(rule, about, schemas),
    }
    if about.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas.taken(about.body)}}}
    if rule.keyless is Keyless.ANYBODY:
        operation["security"] = []
    if rule.keyless is Keyless.NEAR:
        operation["security"] = [{}, *({name: []} for name in _SCHEMES)]
    return operation


def _who(rule: Rule) -> str:
    match rule.keyless:
        case Keyless.ANYBODY:
            return "Needs no key."
        case Keyless.NEAR:
            return "Needs no key over loopback, else one of: " + ", ".join(rule.who)
        case Keyless.NOBODY:
            return "Any key." if set(rule.who) == set(Role) else "Keys: " + ", ".join(rule.who)


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)", rule.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(rule: Rule, shape: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    """A field of the question each. A query knows no null: what may be left out is left out."""
    schema = {} if shape is None else shape.model_json_schema()
    for name, field in schema.get("properties", {}).items():
        if f"{{{name}" in rule.path:
            continue
        kinds = [kind for kind in field.pop("anyOf", ()) if kind.get("type") != "null"]
        found = {key: value for key, value in (field | (kinds[0] if kinds else {})).items() if key != "title"}
        if found.get("default", "") is None:
            del found["default"]
        description = found.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": found}
        yield parameter | ({} if description is None else {"description": field.get("description", description)})


def _responses(rule: Rule, about: Described, schemas: _Schemas) -> dict[str, Any]:
    responses = {
        str(status): _response(status, content, schemas, (*REQUEST_ID, *about.headers))
        for status, content in about.answers.items()
    }
    for status in sorted({status for kind in _errors(rule, about) for status in _statuses(kind)}):
        response = _response(
            status, {JSON: {"$ref": "#/components/schemas/Error"}}, schemas, _error_headers(status, about)
        )
        if str(status) in responses:  # not ready, or too much to do: both are 503
            answer = responses[str(status)]["content"][JSON]["schema"]
            response["content"][JSON]["schema"] = {"anyOf": [answer, response["content"][JSON]["schema"]]}
        responses[str(status)] = response
    for relayed in about.relays:
        content: Content = {JSON: {"$ref": "#/components/schemas/RelayedError"}}
        responses[relayed] = _response(400, content, schemas, _error_headers(400, about))
    return responses


def _errors(rule: Rule, about: Described) -> Iterator[type[OrchError]]:
    yield from ANY_REQUEST
    if rule.keyless is not Keyless.ANYBODY:
        yield from WITH_KEY
        if set(rule.who) != set(Role):
            yield Forbidden
    if about.body is not None:
        yield from WITH_BODY
    yield from about.errors


def _statuses(kind: type[OrchError]) -> Sequence[int]:
    return (402, status_of(kind)) if kind is EnergyExhausted else (status_of(kind),)


def _error_headers(status: int, about: Described) -> Sequence[str]:
    ours = [name for name in about.headers if name.startswith(("x-orch-attempts", "x-orch-policy", "x-orch-energy"))]
    return (*REQUEST_ID, *ours, *ERROR_HEADERS.get(status, ()))


def _response(status: int, content: Content, schemas: _Schemas, headers: Iterable[str]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {media: {"schema": schemas.given(shape)} for media, shape in content.items()},
    }
