"""Checks of a network before it is converted: does it keep to its signature?"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.options import ExportOptions
from export.sources import Network, batch_size
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError

logger = logging.getLogger(__name__)

# A network without a bounded last layer overshoots its range a little; one whose range was
# stated wrongly (0..255 for -1..1, say) leaves it nearly everywhere.
_OVERSHOOT = 0.25
_OVERSHOOT_SHARE = 0.05

# Of images whose range was stated twice as wide (-1..1 for 0..1), none is darker than mid-grey.
_UNDERSHOOT = 0.05
_FLAT = 0.25
# Of images whose range was stated far too wide (0..255 for 0..1), all are black.
_BLACK = 1.5 / 255
_CHANNELS = (1, 2, 3, 4)


def check_network(
    network: Network,
    graph: str,
    spec: GraphSpec,
    options: ExportOptions,
    inputs: Tensors,
    size: Size = (),
) -> None:
    """Raise ExportError unless the user's network gives finite floats of the signature's shapes,
    images within the value range (unless `any_range`), and the same on a second call. Warn of what
    seems to be no log variance.

    `inputs` are those of the graph; the network is given floats, as it will be.
    """
    outputs = network.floats(inputs)
    for tensor, made in zip(spec.outputs, outputs, strict=True):
        _check_output(graph, tensor, made, batch_size(inputs), size)
        if tensor.role == "images" and not options.any_range:
            _check_range(graph, made, options.image.value_range)
        if tensor.role == "log_variance":
            _warn_of_variances(graph, made)
    low, high = options.image.value_range
    pixels = spec.outputs[0].dtype == "uint8"
    atol = (high - low) / 255.0 if pixels else 1e-4
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
    if tensor.role in ("images", "volume"):
        shape = (shape[-1], *shape[:-1])
        axes = "B, C, H, W" if tensor.role == "images" else "B, C, D, H, W"
    what, shape = f"{graph}: {tensor.name}", (rows, *shape)
    if tensor.role == "codes":
        _check_codes(what, made, shape)
        return
    if not np.issubdtype(made.dtype, np.floating) or made.shape != shape:
        raise ExportError(
            f"{what}: expected a float tensor of shape {list(shape)} ({axes}), found "
            f"{_described(made)}: {_remedy(tensor, made)}"
        )
    finite = np.isfinite(made).reshape(rows, -1).all(axis=1)
    if not finite.all():
        raise ExportError(
            f"{what}: expected finite values, found NaN or infinity in rows "
            f"{np.flatnonzero(~finite).tolist()} of {rows}: check the weights (a diverged "
            "training, or none loaded)"
        )


def _remedy(tensor: TensorSpec, made: NDArray[Any]) -> str:
    if tensor.role != "images":
        return "flatten or reshape it"
    if not np.issubdtype(made.dtype, np.floating):
        return "return floats"
    if made.ndim != 4:
        return "reshape them to that"
    if made.shape[3] == tensor.shape[-1] != made.shape[1]:
        return "return them channels first: permute(0, 3, 1, 2)"
    channels = made.shape[1]
    if channels != tensor.shape[-1] and channels in _CHANNELS:
        return f"state channels={channels} in the ImageSpec (--image HEIGHTxWIDTHx{channels})"
    return "state the ImageSpec that fits"


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
    least, most, middle = float(images.min()), float(images.max()), (low + high) / 2
    if least < most <= low + _BLACK * (high - low):
        raise ExportError(
            f"{graph}: images: expected values in all of [{low:g}, {high:g}], found {least:g} to "
            f"{most:g} in {len(images)} images, which are all black: state the range the network "
            "really gives as ImageSpec.value_range (--value-range); where its images are so dark "
            "indeed, any_range=True (--any-range)"
        )
    # Of nearly flat images, as an untrained network gives, nothing can be said; a network without a
    # bounded last layer may go a little below black.
    if least >= middle - _UNDERSHOOT * (high - low) and most - least > _FLAT * (high - low):
        raise ExportError(
            f"{graph}: images: expected values in all of [{low:g}, {high:g}], found {least:g} to "
            f"{most:g} in {len(images)} images, nothing darker than mid-grey: state the range the "
            f"network really gives as ImageSpec.value_range (--value-range), likely {middle:g} to "
            f"{high:g}; where its images are so bright indeed, any_range=True (--any-range)"
        )


def _warn_of_variances(graph: str, made: NDArray[Any]) -> None:
    """Variances and deviations are positive. The log variance of a posterior is negative where that
    is narrower than the prior, which in one that was trained it is somewhere."""
    if made.min() > 0.0:
        logger.warning(
            "%s: log_variance: expected some below 0, found %g to %g in %d images, as of a "
            "variance or a standard deviation: of these give the logarithm, variance.log() or "
            "2 * std.log()",
            graph,
            made.min(),
            made.max(),
            len(made),
        )


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
        "call: the network draws random numbers in eval mode; take the noise out of forward, or "
        "make it an input behind the others (ExportOptions.noise, --noise SHAPE)"
    )
