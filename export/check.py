"""Checks of a torch module before it is converted: does it keep to its signature?"""

from typing import Any

import torch
from torch import Tensor

from export.causes import described_error
from export.modules import GraphModule
from export.outputs import described, outputs_of, wrong_outputs
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError

# A network without a bounded last layer overshoots its range a little; one whose range was
# stated wrongly (0..255 for -1..1, say) leaves it nearly everywhere.
_OVERSHOOT = 0.25
_OVERSHOOT_SHARE = 0.05
# Of images whose range was stated twice as wide (-1..1 for 0..1), none is darker than mid-grey.
_UNDERSHOOT = 0.05

_CHANNELS = (1, 2, 3, 4)
_REMEDIES = {"images": "state the ImageSpec that fits"}


def check_module(
    graph: str,
    module: GraphModule,
    spec: GraphSpec,
    inputs: Tensors,
    size: Size = (),
    *,
    ranged: bool = True,
) -> None:
    """Raise ExportError unless the user's module gives finite floats of the signature's shapes,
    images within the value range (where `ranged`), and the same on a second call.

    `inputs` are those of the graph; the module is given floats, as it will be.
    """
    with torch.inference_mode():
        given = [module.given(torch.from_numpy(inputs[t.name]), t) for t in spec.inputs]
    outputs = _call(graph, module, given, spec)
    wrong = wrong_outputs(graph, outputs, [tensor.name for tensor in spec.outputs])
    if wrong:
        raise ExportError(wrong)
    rows = len(given[0])
    for tensor, made in zip(spec.outputs, outputs, strict=True):
        _check_output(graph, tensor, made, rows, size)
        if tensor.role == "images" and ranged:
            _check_range(graph, made, module)
    first_is_pixels = spec.outputs[0].dtype == "uint8"
    for one, other in zip(outputs, _call(graph, module, given, spec), strict=True):
        atol = module.span / 255.0 if first_is_pixels else 1e-4
        rtol = 0.0 if first_is_pixels else 1e-4
        if not torch.allclose(one.float(), other.float(), rtol=rtol, atol=atol):
            names = "images" if first_is_pixels else "posteriors"
            raise ExportError(_random(graph, names, spec.inputs[0].name))


def _check_output(graph: str, tensor: TensorSpec, made: Any, rows: int, size: Size) -> None:
    shape = tensor.at(size)
    axes = "B, *latent" if shape else "B"
    if tensor.role == "images":
        shape, axes = (shape[2], *shape[:2]), "B, C, H, W"
    remedy = _REMEDIES.get(tensor.role, "flatten or reshape it")
    if tensor.role == "images" and isinstance(made, Tensor) and made.ndim == 4:
        channels = made.shape[1]
        if channels != tensor.shape[-1] and channels in _CHANNELS:
            remedy = f"state channels={channels} in the ImageSpec (--image HEIGHTxWIDTHx{channels})"
    what = f"{graph}: {tensor.name}"
    if tensor.role == "codes":
        _check_codes(what, made, (rows, *shape))
    else:
        _check_tensor(what, made, (rows, *shape), axes, remedy)


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
    least, most, middle = images.min().item(), images.max().item(), (low + high) / 2
    # Of constant images nothing can be said; a network without a bounded last layer may go a little
    # below black.
    nearly = least >= middle - _UNDERSHOOT * module.span and most > middle + module.span / 4
    if nearly or middle <= least < most:
        raise ExportError(
            f"{graph}: images: expected values in all of [{low:g}, {high:g}], found {least:g} to "
            f"{most:g} in {len(images)} images, nothing darker than mid-grey: state the range the "
            f"module really gives as ImageSpec.value_range (--value-range), likely {middle:g} to "
            f"{high:g}; where its images are so bright indeed, any_range=True (--any-range)"
        )


def _call(graph: str, module: GraphModule, given: list[Tensor], spec: GraphSpec) -> tuple[Any, ...]:
    try:
        with torch.inference_mode():
            return outputs_of(module.module(*given), len(spec.outputs))
    except ExportError:  # of outputs that were chosen
        raise
    except Exception as error:  # whatever a user's forward raises
        taken = ", ".join(
            f"{tensor.name} {list(array.shape)}"
            for tensor, array in zip(spec.inputs, given, strict=True)
        )
        raise ExportError(
            f"{graph}: the module failed on {taken}: {described_error(error)} (forward is "
            "called with these, by position, and its weights are float32, as they are; the batch "
            "may have any size: instead of a fixed one, expand(len(x), ...), reshape(-1, ...))"
        ) from error


def _check_tensor(what: str, value: Any, shape: tuple[int, ...], axes: str, remedy: str) -> None:
    expected = f"expected a float tensor of shape {list(shape)} ({axes})"
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != shape:
        raise ExportError(f"{what}: {expected}, found {described(value)}: {remedy}")
    finite = value.isfinite().reshape(len(value), -1).all(dim=1)
    if not finite.all():
        rows = (~finite).nonzero().flatten().tolist()
        raise ExportError(
            f"{what}: expected finite values, found NaN or infinity in rows {rows} of "
            f"{len(value)}: check the weights (a diverged training, or none loaded)"
        )


def _check_codes(what: str, value: Any, shape: tuple[int, ...]) -> None:
    whole = isinstance(value, Tensor) and not value.is_floating_point()
    if not whole or value.shape != shape:
        raise ExportError(
            f"{what}: expected integers of shape {list(shape)} (B, *codes), found "
            f"{described(value)}: state ExportOptions.codes, or reshape them"
        )


def _random(graph: str, outputs: str, inputs: str) -> str:
    return (
        f"{graph}: expected the same {outputs} for the same {inputs}, found others on a second "
        "call: the module draws random numbers in eval mode; take the noise out of forward, or "
        "make it an input behind the others (ExportOptions.noise, --noise SHAPE)"
    )
