"""A torch module by its name, `package.module:Class`: built, and filled with weights of a file."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.causes import described_error
from export.modules.weights import load_weights
from runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def load_module(target: str, params: Mapping[str, Any], weights: Path | None) -> "nn.Module":
    """`package.module:Class`, or a function that builds a module, called with `params`; its weights
    replaced by those of the file.

    Raises ExportError where there is no such class, it cannot be built, or the file's weights do
    not fit it (`export.modules.weights`).
    """
    from export.modules.frozen import unwrapped

    module = _build(target, params)
    if weights is not None:
        load_weights(unwrapped(module), target, weights)
    return module


def _build(target: str, params: Mapping[str, Any]) -> "nn.Module":
    from torch import nn

    path, _, attribute = target.partition(":")
    if not path or not attribute or path.startswith("."):
        raise ExportError(f"{target}: expected package.module:Class, or package.module:function")
    try:
        factory = getattr(importlib.import_module(path), attribute)
    except (Exception, SystemExit) as error:  # whatever a user's file does when it is imported
        raise ExportError(f"{target}: cannot be imported: {described_error(error)}") from error
    try:
        module = factory(**params)
    except (Exception, SystemExit) as error:  # whatever a user's constructor raises
        raise ExportError(
            f"{target}: cannot be built with {dict(params)} (--params): {described_error(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ExportError(f"{target}: expected a torch.nn.Module, found {type(module).__name__}")
    return module
