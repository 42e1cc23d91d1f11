"""From a request to a question: every parameter known, of its type and in its range, or a BadRequest that says which is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.errors import BadRequest
from proxy.policy.naming import did_you_mean, listing
from proxy.wording import words

FIELDS_MAX = 100
SHOWN_CHARS = 40

_Question = TypeVar("_Question", bound=BaseModel)


def question(shape: type[_Question], given: Mapping[str, Any]) -> _Question:
    """Raises BadRequest for the first thing that is wrong, a misspelt name before all."""
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        misfits = error.errors(include_url=False)
    raise _told(next((misfit for misfit in misfits if misfit["type"] == "extra_forbidden"), misfits[0]), shape)


def query(shape: type[BaseModel], raw: bytes) -> dict[str, Any]:
    """The parameters of a query. One that may come more than once is a list; of the others, two are a BadRequest."""
    try:
        named = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadRequest(f"The query has more than {FIELDS_MAX} parameters. Send fewer.") from None
    given: dict[str, Any] = {}
    for name, value in named:
        if _is_list(shape, name):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise BadRequest(
                f"The query names {name[:SHOWN_CHARS]!r} more than once. Name it once.", param=_param(name)
            )
        else:
            given[name] = value
    return given


def _is_list(shape: type[BaseModel], name: str) -> bool:
    field = shape.model_fields.get(name)
    return field is not None and any(
        get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation))
    )


def _told(misfit: ErrorDetails, shape: type[BaseModel]) -> BadRequest:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in misfit["loc"]).lstrip(".")
    shown = _param(path) or "body"
    match misfit["type"]:
        case "extra_forbidden":
            known = list(shape.model_fields)
            hint = did_you_mean(path, known) or f". There are {listing(known)}."
            return BadRequest(f"Unknown parameter: {shown!r}{hint}", reason="unknown_parameter", param=shown)
        case "missing":
            message = f"Missing required parameter: {shown!r}. Send one."
            return BadRequest(message, reason="missing_required_parameter", param=shown)
        case kind:
            reason = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
            return BadRequest(f"Invalid {shown!r}: it {_wording(misfit, shape)}.", reason=reason, param=shown)


def _wording(misfit: ErrorDetails, shape: type[BaseModel]) -> str:
    """What would be right; of a number both its bounds, whichever it broke."""
    least, most = _bounds(shape, misfit["loc"])
    if misfit["type"].startswith(("int_", "greater_", "less_")) and least is not None:
        return f"must be a whole number from {least} to {most}{_given(misfit['input'])}"
    return words(misfit)


def _bounds(shape: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[int | None, int | None]:
    """The least and the most that the field takes."""
    field = shape.model_json_schema()["properties"].get(loc[0], {}) if loc else {}
    number: dict[str, Any] = next(
        (part for part in (field, *field.get("anyOf", ())) if part.get("type") == "integer"), {}
    )
    return number.get("minimum"), number.get("maximum")


def _given(value: object) -> str:
    """What was given, where it is short."""
    return f", not {value!a}" if isinstance(value, str | int | float) and len(str(value)) <= SHOWN_CHARS else ""


def _param(name: str) -> str:
    return ascii(name[:SHOWN_CHARS])[1:-1]
