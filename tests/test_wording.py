"""Wording: no word of pydantic's reaches whoever wrote the value."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from proxy.wording import words


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("is even: add one")
    return value


@pytest.mark.parametrize(
    ("shape", "value", "told"),
    [
        (Annotated[int, Field(ge=1)], 0, "must be at least 1"),
        (Annotated[int, Field(gt=1)], 0, "must be more than 1"),
        (Annotated[int, Field(le=8)], 9, "must be at most 8"),
        (Annotated[float, Field(lt=8)], 9, "must be less than 8"),
        (Annotated[float, Field(ge=0.5)], 0, "must be at least 0.5"),
        (Annotated[int, Field(multiple_of=5)], 9, "must be a multiple of 5"),
        (int, "x", "must be a whole number"),
        (int, 1.5, "must be a whole number"),
        (int, "9" * 5000, "has too many digits"),
        (float, "x", "must be a number"),
        (Annotated[float, Field(allow_inf_nan=False)], "nan", "must be a finite number"),
        (Decimal, "x", "must be a number"),
        (Annotated[Decimal, Field(decimal_places=2)], "1.234", "must have at most 2 decimal places"),
        (bool, "x", "must be true or false"),
        (str, 1, "must be text: quote it"),
        (Annotated[str, Field(min_length=1)], "", "must not be empty"),
        (Annotated[str, Field(min_length=3)], "", "must have at least 3 characters"),
        (Annotated[str, Field(max_length=3)], "abcd", "must have at most 3 characters"),
        (Annotated[tuple[int, ...], Field(min_length=1)], (), "must have at least 1 item, not 0"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 item, not 2"),
        (tuple[int, ...], 1, "must be a list, written [a, b]"),
        (dict[str, int], 1, "must be a mapping, written key: value"),
        (Literal["a", "b"], "c", "must be 'a' or 'b'"),
        (Colour, "green", "must be 'red' or 'blue'"),
        (Annotated[int, AfterValidator(odd)], 2, "is even: add one"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(shape: Any, value: object, told: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(shape).validate_python(value)
    (misfit,) = raised.value.errors()
    assert words(misfit) == told
