"""Packages of the extras that some jobs need."""

from importlib import import_module
from types import ModuleType
from typing import Any

from runtime.errors import InputError
from runtime.machine import to_install


def pyarrow(module: str = "") -> ModuleType:
    """pyarrow, or a module of it."""
    return _package("pyarrow", module, "parquet", "Parquet")


def ray(module: str = "") -> Any:
    """Ray, or a module of it."""
    return _package("ray", module, "ray", "--ray")


def fsspec(module: str = "") -> Any:
    """fsspec, or a module of it."""
    return _package("fsspec", module, "remote", "URLs")


def _package(name: str, module: str, extra: str, purpose: str) -> ModuleType:
    try:
        return import_module(f"{name}.{module}" if module else name)
    except ImportError as error:
        expected = f"the package {name} ({to_install(extra)})"
        raise InputError(purpose, expected, f"{error}") from error
