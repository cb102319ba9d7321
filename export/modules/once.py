"""Tensors that many layers of a network need alike, computed once in a graph."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

_made: ContextVar[dict[tuple[str, ...], Any] | None] = ContextVar("_made", default=None)


@contextmanager
def one_call() -> Generator[None]:
    """One call of a network: inside, a function that is marked `once` runs once for the same
    arguments. What it made is forgotten at the end: sizes that are free have no value then."""
    token = _made.set({})
    try:
        yield
    finally:
        _made.reset(token)


def once(function: Callable[..., T]) -> Callable[..., T]:
    """Of a function of sizes alone, numbers or symbols of torch's."""

    @wraps(function)
    def shared(*sizes: Any) -> T:
        made = _made.get()
        if made is None:
            return function(*sizes)
        key = (function.__qualname__, *map(str, sizes))
        if key not in made:
            made[key] = function(*sizes)
        return made[key]

    return shared
