"""What can be asked of a model: one module a request, named as it.

Such a module has a function `answered_by(manifest)`, which says whether an artifact has what the
request needs; the other modules here are what they share.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.artifact.manifest import Manifest


@cache
def requests() -> "Mapping[str, Callable[[Manifest], bool]]":
    """`answered_by` of every request, by the request's name."""
    names = sorted(found.name for found in iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {n: m.answered_by for n, m in modules.items() if hasattr(m, "answered_by")}


def answers(manifest: "Manifest", request: str) -> bool:
    """Whether an artifact answers a request."""
    return requests()[request](manifest)


def answered(manifest: "Manifest") -> list[str]:
    """The names of the requests that an artifact answers."""
    return [name for name, answered_by in requests().items() if answered_by(manifest)]
