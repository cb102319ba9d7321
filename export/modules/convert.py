"""A torch module -> the bytes of one ONNX file."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any

import onnx
import torch
from torch import nn
from torch.distributions import Distribution

from export.causes import described_error, first_cause
from export.graphs import finished
from export.modules.attention import TRANSLATIONS
from export.modules.modulated import without_groups
from export.modules.remedies import SIZE, failed, fixed_batch, groups_left
from runtime.artifact.manifest import Axis
from runtime.artifact.size import parse
from runtime.artifact.tensors import GraphSpec
from runtime.errors import ExportError

OPSET = 20
_BFLOAT16 = onnx.TensorProto.BFLOAT16


# A batch of 1 would be taken for a constant.
_EXAMPLE_BATCH = 3


def to_onnx(module: nn.Module, spec: GraphSpec, axes: Mapping[str, Axis]) -> bytes:
    """Convert `module` to the ONNX file that `spec` describes, with a free batch axis and free
    named axes.

    `module` is in eval mode, on the CPU, and takes the inputs in the order of `spec`. The same
    module gives the same bytes. Raises ExportError where torch cannot convert it, or where the
    graph holds what no artifact may (`runtime.artifact.graph`).
    """
    # Small and distinct: torch would merge axes of equal length, and take a length of 1, as in the
    # middle of a U-Net at its smallest size, for a constant.
    example = tuple(
        (name, axis.nearest(max(axis.min, 2 * axis.multiple_of) + number * axis.multiple_of))
        for number, (name, axis) in enumerate(axes.items())
    )
    inputs = tuple(
        torch.zeros(_EXAMPLE_BATCH, *t.at(example), dtype=getattr(torch, t.dtype))
        for t in spec.inputs
    )
    shapes = {"tensors": _dynamic_shapes(spec, axes)}
    try:
        with _quiet(), _unvalidated(), _unless_failed():
            model = _converted(module, inputs, shapes, spec)
            batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
            remedy = fixed_batch(module, inputs) if batch else ""
    except ExportError:
        raise
    except Exception as error:  # the exporter raises many kinds; the first cause says the most
        cause = described_error(first_cause(error))
        raise ExportError(
            f"{spec.file}: torch cannot convert the module to ONNX: {cause} ({failed(cause)})"
        ) from error
    if remedy:
        raise ExportError(
            f"{spec.file}: expected a graph for any batch, found one for a batch of {batch}: "
            f"{remedy}"
        )
    if fixed := _fixed_axes(model, spec):
        raise ExportError(
            f"{spec.file}: expected a graph for any {', '.join(fixed)}, found one for "
            f"{', '.join(f'{name} {size}' for name, size in fixed.items())}: {SIZE}"
        )
    if any(
        a.name == "to" and a.i == _BFLOAT16 for node in model.graph.node for a in node.attribute
    ):
        raise ExportError(
            f"{spec.file}: expected arithmetic in float32, found bfloat16: take autocast and "
            ".bfloat16() out of forward (variants in reduced precision are made from the graph)"
        )
    return finished(model, spec, axes, "the module")


def _converted(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], shapes: dict[str, Any], spec: GraphSpec
) -> onnx.ModelProto:
    """What torch's exporter makes of `module`, convolutions with a group for each row rewritten."""
    captured = _captured(module, inputs, shapes)
    plain = None if captured is None else without_groups(captured)
    if plain is not None:
        captured = _captured(plain, inputs, shapes) or captured
    if captured is not None and (remedy := groups_left(captured)):
        raise ExportError(f"{spec.file}: {remedy}")
    program = torch.onnx.export(
        captured or module,
        inputs if captured is None else (),
        dynamic_shapes=shapes if captured is None else None,
        dynamo=True,
        custom_translation_table=TRANSLATIONS,
        opset_version=OPSET,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        external_data=False,
        optimize=True,  # folds constants, and batch norms into their convolutions
        verbose=False,
    )
    return program.model_proto  # pyright: ignore[reportOptionalMemberAccess]


def _fixed_axes(model: onnx.ModelProto, spec: GraphSpec) -> dict[str, int]:
    """Dimensions that were to stay free, and the number that the graph has in each one's place."""
    given = {tensor.name: tensor.shape for tensor in (*spec.inputs, *spec.outputs)}
    return {
        wanted: dim.dim_value
        for value in (*model.graph.input, *model.graph.output)
        for dim, wanted in zip(
            value.type.tensor_type.shape.dim[1:], given.get(value.name, ()), strict=False
        )
        if isinstance(wanted, str) and dim.dim_value
    }


def _captured(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], shapes: dict[str, Any]
) -> torch.export.ExportedProgram | None:
    """The operations of `module`: as Python runs it, or, where that takes the batch for a number
    (`len(x)` does), as torch reads its code. None where neither works: torch's ONNX exporter knows
    more ways, and says best what is wrong."""
    for strict in (False, True):
        with suppress(Exception), _unless_failed():
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=strict)
    return None


def _dynamic_shapes(spec: GraphSpec, axes: Mapping[str, Axis]) -> tuple[dict[int, Any], ...]:
    """The free axes of every input: the batch, and multiples of one unknown for each named axis."""
    batch = torch.export.Dim("batch")
    units = {
        name: torch.export.Dim(
            f"{name}_steps", min=axis.min // axis.multiple_of, max=axis.max // axis.multiple_of
        )
        for name, axis in axes.items()
    }
    shapes: list[dict[int, Any]] = []
    for tensor in spec.inputs:
        free: dict[int, Any] = {0: batch}
        for position, dim in enumerate(tensor.shape, start=1):
            if isinstance(dim, str):
                factor, name, divisor = parse(dim)
                steps = factor * axes[name].multiple_of // divisor
                free[position] = units[name] if steps == 1 else steps * units[name]
        shapes.append(free)
    return tuple(shapes)


@contextmanager
def _unless_failed() -> Iterator[None]:
    """What is written to stderr inside comes there if nothing fails: of a module that it cannot
    capture, torch prints pages."""
    held = io.StringIO()
    with redirect_stderr(held):
        yield
    sys.stderr.write(held.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages of torch's exporter; failures are exceptions."""
    # For all loggers: torch sets its own up again while it exports, so theirs cannot be muted.
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.", FutureWarning)
            # Two inputs share the batch axis, as intended.
            warnings.filterwarnings("ignore", "# The axis name: ")
            # A module that keeps what it made last, or counts its calls: no image depends on it.
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export")
            warnings.filterwarnings("ignore", "While compiling, we found certain side effects")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _unvalidated() -> Iterator[None]:
    """torch's distributions look at the values that they are given, which cannot be captured."""
    usual = Distribution._validate_args  # pyright: ignore[reportPrivateUsage]
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(usual)
