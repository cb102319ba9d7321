"""Protocols of other programs, over the same requests: one module each.

A module's `PROTOCOLS` holds its endpoints by their paths, in which `{model}` stands for the name of
a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from bento.endpoint import Endpoint


@dataclass(frozen=True)
class Protocol:
    """An endpoint that answers the `request` of that name in another way."""

    request: str
    endpoint: Endpoint


@cache
def protocols() -> Mapping[str, Protocol]:
    """Every endpoint of this package, by its path."""
    names = sorted(found.name for found in iter_modules(__path__) if found.name[0] != "_")
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return {path: each for module in modules for path, each in module.PROTOCOLS.items()}
