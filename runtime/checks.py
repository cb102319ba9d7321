"""Checks of any arguments: each function returns the value as it will be used, or raises InputError
that names the field, what was expected and what was found."""

import operator
from typing import Any

from runtime.errors import InputError


def check_integer(field: str, value: object, low: int, high: int, what: str = "") -> int:
    """`value` as an int in [low, high]; bools and floats are refused."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        number = None
    if number is not None and low <= number <= high:
        return number
    expected = what or f"an integer from {low} to {high}"
    raise InputError(field, expected, short(value if number is None else number))


def as_list(field: str, values: object, expected: str) -> list[Any]:
    try:
        return list(values)  # pyright: ignore
    except TypeError:
        raise InputError(field, expected, short(values)) from None


def short(value: object) -> str:
    """A value for an error's text, never longer than a line."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict | set):
        return f"{type(value).__name__} of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
    text = repr(value[:100]) if isinstance(value, str) else " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
