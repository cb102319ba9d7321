"""The requests over HTTP: one module each, named as its path.

A module's `ENDPOINT` holds all that is particular to its request: the options that it takes, the
handler, the description and the examples. Nothing else names a request.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from bento.endpoint import Endpoint


@cache
def endpoints() -> Mapping[str, Endpoint]:
    """Every endpoint of this package, by name."""
    names = sorted(found.name for found in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").ENDPOINT for name in names}
