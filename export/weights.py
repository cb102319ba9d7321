"""A user's module by name, with weights from a safetensors file. Never a pickle."""

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def load_module(target: str, params: Mapping[str, Any], weights: Path | None) -> "nn.Module":
    """`package.module:Class` called with `params`, its weights replaced by those of the file.

    Raises ExportError where there is no such class, it cannot be built, or the file's names or
    shapes are not those of the module.
    """
    module = _build(target, params)
    if weights is not None:
        _load_weights(module, target, weights)
    return module


def checksum(weights: Path) -> str:
    """SHA-256 of a weights file, for the artifact's provenance."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _build(target: str, params: Mapping[str, Any]) -> "nn.Module":
    from torch import nn

    path, _, attribute = target.partition(":")
    if not path or not attribute:
        raise ExportError(f"{target}: expected package.module:Class")
    try:
        factory = getattr(importlib.import_module(path), attribute)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"{target}: cannot be imported: {error}") from error
    try:
        module = factory(**params)
    except Exception as error:  # whatever a user's constructor raises
        raise ExportError(
            f"{target}: cannot be built with {dict(params)} (--params): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ExportError(f"{target}: expected a torch.nn.Module, found {type(module).__name__}")
    return module


def _load_weights(module: "nn.Module", target: str, weights: Path) -> None:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    if not weights.is_file():
        raise ExportError(f"{weights}: expected a safetensors file, found none")
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ExportError(
            f"{weights}: expected a safetensors file, found something else ({error}): write one "
            "with safetensors.torch.save_model(module, path)"
        ) from error
    state = module.state_dict()
    differing = [
        f"{name} {shape} (expected {list(state[name].shape)})"
        for name, shape in shapes.items()
        if name in state and list(state[name].shape) != shape
    ]
    missing, unexpected = [], []
    if not differing:
        missing, unexpected = load_model(module, weights, strict=False)
    if differing or missing or unexpected:
        raise ExportError(
            f"{weights}: the weights do not fit {target}: missing {sorted(missing)}, "
            f"unexpected {sorted(unexpected)}, of other shapes {differing}: check the class and "
            "--params"
        )
