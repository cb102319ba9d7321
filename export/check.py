"""Checks of a network before it is converted: does it keep to its signature?"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.sources import Network, batch_size
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, Role, TensorSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError

logger = logging.getLogger(__name__)

# A network without a bounded last layer overshoots its range a little; one whose range was
# stated wrongly (0..255 for -1..1, say) leaves it nearly everywhere.
_OVERSHOOT = 0.25
_OVERSHOOT_SHARE = 0.05

_REMEDIES: Mapping[Role, str] = {"images": "state the ImageSpec that fits"}


def check_network(
    network: Network,
    graph: str,
    spec: GraphSpec,
    value_range: tuple[float, float],
    inputs: Tensors,
    size: Size = (),
) -> None:
    """Raise ExportError unless the user's network gives finite floats of the signature's shapes,
    images within the value range, and the same on a second call.

    `inputs` are those of the graph; the network is given floats, as it will be.
    """
    outputs = network.floats(inputs)
    for tensor, made in zip(spec.outputs, outputs, strict=True):
        _check_output(graph, tensor, made, batch_size(inputs), size)
        if tensor.role == "images":
            _check_range(graph, made, value_range)
    pixels = spec.outputs[0].dtype == "uint8"
    atol = (value_range[1] - value_range[0]) / 255.0 if pixels else 1e-4
    rtol = 0.0 if pixels else 1e-4
    for one, other in zip(outputs, network.floats(inputs), strict=True):
        if not np.allclose(one, other, rtol=rtol, atol=atol):
            names = "images" if pixels else "posteriors"
            raise ExportError(_random(graph, names, spec.inputs[0].name))


def _check_output(
    graph: str, tensor: TensorSpec, made: NDArray[Any], rows: int, size: Size
) -> None:
    shape = tensor.at(size)
    axes = "B, *latent" if shape else "B"
    if tensor.role == "images":
        shape, axes = (shape[2], *shape[:2]), "B, C, H, W"
    what, shape = f"{graph}: {tensor.name}", (rows, *shape)
    if tensor.role == "codes":
        _check_codes(what, made, shape)
        return
    if not np.issubdtype(made.dtype, np.floating) or made.shape != shape:
        raise ExportError(
            f"{what}: expected a float tensor of shape {list(shape)} ({axes}), found "
            f"{_described(made)}: {_REMEDIES.get(tensor.role, 'flatten or reshape it')}"
        )
    finite = np.isfinite(made).reshape(rows, -1).all(axis=1)
    if not finite.all():
        raise ExportError(
            f"{what}: expected finite values, found NaN or infinity in rows "
            f"{np.flatnonzero(~finite).tolist()} of {rows}: check the weights (a diverged "
            "training, or none loaded)"
        )


def _check_range(graph: str, images: NDArray[Any], value_range: tuple[float, float]) -> None:
    low, high = value_range
    margin = _OVERSHOOT * (high - low)
    outside = float(((images < low - margin) | (images > high + margin)).mean())
    if outside > _OVERSHOOT_SHARE:
        raise ExportError(
            f"{graph}: images: expected values in [{low:g}, {high:g}], found "
            f"{images.min():g} to {images.max():g} ({outside:.0%} of them far "
            "outside): state the range the network really gives as ImageSpec.value_range "
            "(--value-range)"
        )
    if images.min() > (low + high) / 2:
        logger.warning(
            "%s: no pixel of %d images is darker than mid-grey: values from %g to %g in the "
            "stated range [%g, %g]; is ImageSpec.value_range right?",
            graph, len(images), images.min(), images.max(), low, high,
        )  # fmt: skip


def _check_codes(what: str, made: NDArray[Any], shape: tuple[int, ...]) -> None:
    if not np.issubdtype(made.dtype, np.integer) or made.shape != shape:
        raise ExportError(
            f"{what}: expected integers of shape {list(shape)} (B, *codes), found "
            f"{_described(made)}: state ExportOptions.codes, or reshape them"
        )


def _described(made: NDArray[Any]) -> str:
    return f"{made.dtype} {list(made.shape)}"


def _random(graph: str, outputs: str, inputs: str) -> str:
    return (
        f"{graph}: expected the same {outputs} for the same {inputs}, found others on a second "
        "call: the network draws random numbers in eval mode; take the noise out of forward"
    )
