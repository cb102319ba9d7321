"""What a user changes in a network that cannot be captured for any batch."""

from contextlib import suppress
from typing import Any

import torch
from torch import fx, nn

_GROUPS = (
    "a convolution has a group for each image (groups=batch), which ONNX does not know: scale the "
    "activations by the style, convolve with the shared weights, then scale the result, as "
    "ModulatedConv2d in docs/stylegan.md does"
)
_BATCH = (
    "forward takes the batch for a number: use x.shape[0] as it is, such as "
    "`constant.expand(x.shape[0], -1, -1, -1)`, with no loop over the rows, no list(x), no chunk "
    "of them (slices x[:n] do), and no number that NumPy or math made of the shape"
)
SIZE = (
    "forward takes the size for a number, as torch.linspace, F.affine_grid, int(x.shape[2]) and "
    "what NumPy or math make of the shape do: compute with x.shape and torch.arange(x.shape[2]), "
    "or export it for one size (without --size MIN..MAX or --axis)"
)
_REMAINDER = (
    "forward computes with the size what torch cannot keep free for every one: for -w % 8 write "
    "(8 - w % 8) % 8, or state sizes that need no padding (--size MIN..MAX/8)"
)
_FLOW = (
    "forward must be free of Python control flow that depends on values or on the batch size, "
    "and use operators that ONNX knows"
)


def groups_left(program: torch.export.ExportedProgram) -> str | None:
    """What to do about a convolution with a group for each image that could not be rewritten."""
    return _GROUPS if any(isinstance(g, fx.Node) for g, _ in _groups(program)) else None


def fixed_batch(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> str:
    """What to do where a module was captured for the batch of `inputs` alone."""
    with suppress(Exception):
        program = torch.export.export(module, inputs)
        if (len(inputs[0]), 1) in _groups(program):
            return _GROUPS
    return _BATCH


def failed(cause: str) -> str:
    """What to do about an error of torch's exporter."""
    if "Cannot create Dim" in cause:  # of the sizes that it found to be possible, none is left
        return _REMAINDER
    return _BATCH if "inferred to be a constant" in cause else _FLOW


def _groups(program: torch.export.ExportedProgram) -> list[tuple[Any, Any]]:
    """The groups of every convolution, and the batch of what it takes."""
    found: list[tuple[Any, Any]] = []
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or "conv" not in schema.name:
            continue
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        taken = node.args[0].meta["val"].shape
        found.append((given.get("groups", 1), taken[0]))
    return found
