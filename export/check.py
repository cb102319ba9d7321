"""Checks of a torch module before it is converted: does it keep to its signature?"""

import logging
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from export.modules import GraphModule, fields_of, outputs_of
from runtime.artifact.graphs import GraphSpec, TensorSpec
from runtime.artifact.size import Size
from runtime.engines.backend import Tensors
from runtime.errors import ExportError

logger = logging.getLogger(__name__)

# A network without a bounded last layer overshoots its range a little; one whose range was
# stated wrongly (0..255 for -1..1, say) leaves it nearly everywhere.
_OVERSHOOT = 0.25
_OVERSHOOT_SHARE = 0.05

_REMEDIES = {"images": "state the ImageSpec that fits"}


def check_module(
    graph: str, module: GraphModule, spec: GraphSpec, inputs: Tensors, size: Size = ()
) -> None:
    """Raise ExportError unless the user's module gives finite floats of the signature's shapes,
    images within the value range, and the same on a second call.

    `inputs` are those of the graph; the module is given floats, as it will be.
    """
    with torch.inference_mode():
        given = [module.given(torch.from_numpy(inputs[t.name]), t) for t in spec.inputs]
    outputs = _call(graph, module, given, spec)
    if len(outputs) != len(spec.outputs) or not all(isinstance(o, Tensor) for o in outputs):
        raise ExportError(_other_outputs(graph, outputs, spec))
    rows = len(given[0])
    for tensor, made in zip(spec.outputs, outputs, strict=True):
        _check_output(graph, tensor, made, rows, size)
        if tensor.role == "images":
            _check_range(graph, made, module)
    first_is_pixels = spec.outputs[0].dtype == "uint8"
    for one, other in zip(outputs, _call(graph, module, given, spec), strict=True):
        atol = module.span / 255.0 if first_is_pixels else 1e-4
        rtol = 0.0 if first_is_pixels else 1e-4
        if not torch.allclose(one.float(), other.float(), rtol=rtol, atol=atol):
            names = "images" if first_is_pixels else "posteriors"
            raise ExportError(_random(graph, names, spec.inputs[0].name))


def _other_outputs(graph: str, outputs: tuple[Any, ...], spec: GraphSpec) -> str:
    names = ", ".join(tensor.name for tensor in spec.outputs)
    two = len(spec.outputs) == 2
    expected = f"a pair of tensors ({names})" if two else f"one tensor ({names})"
    made = outputs[0] if len(outputs) == 1 else outputs
    how = "the two" if two else "it"
    if isinstance(made, tuple):
        how = "the two" if two else "one of them: `return self.module(*inputs)[0]`"
    elif _is_named(made):
        found = [name for name, value in fields_of(made).items() if isinstance(value, Tensor)]
        pattern = "[{!r}]" if isinstance(made, Mapping) else ".{}"
        chosen = [f"made{pattern.format(name)}" for name in found[: len(spec.outputs)]]
        how = "tensors"
        if chosen:
            how = f"those it means: `made = self.module(*inputs); return {', '.join(chosen)}`"
    return (
        f"{graph}: expected {expected}, found {_kind(made)}: wrap the {graph}r in a module whose "
        f"forward returns {how}"
    )


def _check_output(graph: str, tensor: TensorSpec, made: Any, rows: int, size: Size) -> None:
    shape = tensor.at(size)
    axes = "B, *latent" if shape else "B"
    if tensor.role == "images":
        shape, axes = (shape[2], *shape[:2]), "B, C, H, W"
    remedy = _REMEDIES.get(tensor.role, "flatten or reshape it")
    _check_tensor(f"{graph}: {tensor.name}", made, (rows, *shape), axes, remedy)


def _check_range(graph: str, images: Tensor, module: GraphModule) -> None:
    low, high = module.low, module.low + module.span
    margin = _OVERSHOOT * module.span
    outside = ((images < low - margin) | (images > high + margin)).float().mean().item()
    if outside > _OVERSHOOT_SHARE:
        raise ExportError(
            f"{graph}: images: expected values in [{low:g}, {high:g}], found "
            f"{images.min().item():g} to {images.max().item():g} ({outside:.0%} of them far "
            "outside): state the range the module really gives as ImageSpec.value_range"
        )
    if images.min() > (low + high) / 2:
        logger.warning(
            "%s: no pixel of %d images is darker than mid-grey: values from %g to %g in the "
            "stated range [%g, %g]; is ImageSpec.value_range right?",
            graph, len(images), images.min(), images.max(), low, high,
        )  # fmt: skip


def _call(graph: str, module: GraphModule, given: list[Tensor], spec: GraphSpec) -> tuple[Any, ...]:
    try:
        with torch.inference_mode():
            return outputs_of(module.module(*given), len(spec.outputs))
    except Exception as error:  # whatever a user's forward raises
        taken = ", ".join(
            f"{tensor.name} {list(array.shape)}"
            for tensor, array in zip(spec.inputs, given, strict=True)
        )
        raise ExportError(
            f"{graph}: the module failed on {taken}: {type(error).__name__}: {error} (forward is "
            "called with these, by position, and its weights are float32, as they are)"
        ) from error


def _check_tensor(what: str, value: Any, shape: tuple[int, ...], axes: str, remedy: str) -> None:
    expected = f"expected a float tensor of shape {list(shape)} ({axes})"
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != shape:
        raise ExportError(f"{what}: {expected}, found {_kind(value)}: {remedy}")
    finite = value.isfinite().reshape(len(value), -1).all(dim=1)
    if not finite.all():
        rows = (~finite).nonzero().flatten().tolist()
        raise ExportError(
            f"{what}: expected finite values, found NaN or infinity in rows {rows} of "
            f"{len(value)}: check the weights (a diverged training, or none loaded)"
        )


def _random(graph: str, outputs: str, inputs: str) -> str:
    return (
        f"{graph}: expected the same {outputs} for the same {inputs}, found others on a second "
        "call: the module draws random numbers in eval mode; take the noise out of forward"
    )


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if _is_named(value):
        held = ", ".join(f"{name} {_kind(each)}" for name, each in fields_of(value).items())
        return f"a {type(value).__name__} of {held or 'nothing'}"
    return f"a {type(value).__name__}"


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))
