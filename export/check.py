"""Does a module keep to the contract? Asked of the torch module itself, before it is converted."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runtime.artifact.manifest import Manifest
from runtime.engines.backend import Tensors
from runtime.errors import ExportError
from runtime.images import to_float

logger = logging.getLogger(__name__)

# A network without a bounded last layer overshoots its range a little; one whose range was
# stated wrongly (0..255 for -1..1, say) leaves it nearly everywhere.
_OVERSHOOT = 0.25
_OVERSHOOT_SHARE = 0.05


def check_decoder(decoder: nn.Module, inputs: Tensors, manifest: Manifest) -> None:
    """Raise ExportError unless `decoder` gives float images [B, C, H, W] in the value range."""
    image = manifest.image
    latents = inputs["latents"]
    images = _call("decode", decoder, inputs)
    shape = (len(latents), image.channels, image.height, image.width)
    _check_tensor("decode: images", images, shape, "B, C, H, W", "state the ImageSpec that fits")
    low, high = image.value_range
    margin = _OVERSHOOT * (high - low)
    outside = ((images < low - margin) | (images > high + margin)).float().mean().item()
    if outside > _OVERSHOOT_SHARE:
        raise ExportError(
            f"decode: images: expected values in [{low:g}, {high:g}], found "
            f"{images.min().item():g} to {images.max().item():g} ({outside:.0%} of them far "
            "outside): state the range the module really gives as ImageSpec.value_range"
        )
    if images.min() > (low + high) / 2:
        logger.warning(
            "decode: no pixel of %d images is darker than mid-grey: values from %g to %g in the "
            "stated range [%g, %g]; is ImageSpec.value_range right?",
            len(images), images.min(), images.max(), low, high,
        )  # fmt: skip
    again = _call("decode", decoder, inputs)
    if not torch.allclose(images.float(), again.float(), rtol=0.0, atol=(high - low) / 255.0):
        raise ExportError(_random("decode", "images", "latents"))


def check_encoder(encoder: nn.Module, inputs: Tensors, manifest: Manifest) -> None:
    """Raise ExportError unless `encoder` gives floats of the shapes in the manifest: (mean,
    log_variance), each [B, *latent], or (latents [B, *latent], log_density [B]).

    `inputs` are those of the graph, images uint8 [B, H, W, C]; the encoder is given floats.
    """
    images = to_float(inputs["images"], manifest.image).transpose(0, 3, 1, 2)
    inputs = {**inputs, "images": np.ascontiguousarray(images)}
    outputs = _call("encode", encoder, inputs)
    expected = manifest.encode[0].outputs
    if not isinstance(outputs, tuple | list) or len(outputs) != 2:
        names = ", ".join(tensor.name for tensor in expected)
        raise ExportError(
            f"encode: expected a pair ({names}), found {_kind(outputs)}: wrap the "
            "encoder in a module whose forward returns the two"
        )
    for spec, tensor in zip(expected, outputs, strict=True):
        shape = (len(inputs["images"]), *spec.shape)
        axes = "B, *latent" if spec.shape else "B"
        _check_tensor(f"encode: {spec.name}", tensor, shape, axes, "flatten or reshape it")
    for first, second in zip(outputs, _call("encode", encoder, inputs), strict=True):
        if not torch.allclose(first.float(), second.float(), rtol=1e-4, atol=1e-4):
            raise ExportError(_random("encode", "posteriors", "images"))


def _call(graph: str, module: nn.Module, inputs: Tensors) -> Any:
    try:
        with torch.inference_mode():
            return module(*(torch.from_numpy(array) for array in inputs.values()))
    except Exception as error:  # whatever a user's forward raises
        taken = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ExportError(
            f"{graph}: the module failed on {taken}: {type(error).__name__}: {error}"
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
    return f"a {type(value).__name__}"
