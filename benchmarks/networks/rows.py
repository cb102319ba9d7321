"""All rows, by name. Importing them imports torch."""

from functools import cache
from importlib import import_module

from benchmarks.networks.row import Row

FAMILIES = ("autoencoders", "pythae_models", "restorers", "translators", "gans", "onnx_files")
"""Modules beside this one, each with a function `rows`."""


@cache
def found() -> dict[str, Row]:
    """The rows of every family, by name."""
    rows = [row for family in FAMILIES for row in import_module(f"{__package__}.{family}").rows()]
    return {row.name: row for row in rows}
