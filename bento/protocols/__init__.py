"""Protocols of other programs, over the same requests: one module each.

A module's `PROTOCOLS` holds its endpoints by their paths, in which `{model}` and `{version}` stand
for those of a model; its `LOOKUPS`, where it has any, what is told by GET.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from starlette.requests import Request
from starlette.responses import Response

from bento.endpoints import Endpoint
from bento.errors import ErrorShape
from bento.repository.models import Models


@dataclass(frozen=True)
class Protocol:
    """An endpoint that answers the `request` of that name in another way; without a name, the one
    that the path says. `errors`: how they look, where not as ours."""

    request: str
    endpoint: Endpoint
    errors: ErrorShape | None = None


@dataclass(frozen=True)
class Lookup:
    """What a protocol tells of the service or of a model, as JSON; `statuses`: those of its
    errors."""

    answer: Callable[[Request, Models], Awaitable[Response]]
    summary: str
    errors: ErrorShape | None = None
    statuses: tuple[int, ...] = ()


@cache
def protocols() -> Mapping[str, Protocol]:
    """Every endpoint of this package, by its path."""
    return {path: each for module in _modules() for path, each in module.PROTOCOLS.items()}


@cache
def lookups() -> Mapping[str, Lookup]:
    """Everything that is told by GET, by its path."""
    found = [getattr(module, "LOOKUPS", {}) for module in _modules()]
    return {path: each for one in found for path, each in one.items()}


def _modules() -> list[ModuleType]:
    names = sorted(found.name for found in iter_modules(__path__) if found.name[0] != "_")
    return [import_module(f"{__name__}.{name}") for name in names]
