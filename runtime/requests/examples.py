"""Seeded inputs of any graph: to compare engines, to time them, and to check an export."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.artifact.graphs import TensorSpec
from runtime.artifact.size import Size
from runtime.images import UInt8Array
from runtime.requests.inputs import conditions, drawn_labels, latent_draws
from runtime.requests.request import Described
from runtime.sampling.streams import Counter, Stream, uniforms

_COARSE = 8
"""Cells along a side of an example image: it has shapes, as pictures do, not white noise."""


def example_inputs(
    model: Described,
    graph: str,
    count: int,
    seed: int,
    *,
    offset: int = 0,
    size: Size | None = None,
    truncation: float | None = None,
) -> dict[str, NDArray[Any]]:
    """Inputs of a graph for items `offset` and on of a seed. Where the graph takes latents, they
    are those of `Sample` for the same seed."""
    manifest = model.manifest
    spec = manifest.graphs[graph].spec()
    size = manifest.default_size if size is None else size
    counter = Counter(seed, offset, count)
    given: dict[str, Any] = {}
    for tensor in spec.inputs:
        if tensor.role == "latents":
            given[tensor.name] = np.asarray(latent_draws(model, counter, truncation, size))
        elif tensor.role in ("images", "mask"):
            given[tensor.name] = _pictures(tensor, counter, size)
    rest = conditions(
        manifest, graph, size, labels=drawn_labels(manifest, counter), noise_of=counter
    )
    given |= rest.rows(0, count)
    return {tensor.name: given[tensor.name] for tensor in spec.inputs}


def _pictures(tensor: TensorSpec, counter: Counter, size: Size) -> UInt8Array:
    height, width, channels = tensor.at(size)
    drawn = uniforms(counter, Stream.EXAMPLE_IMAGE, _COARSE * _COARSE * channels)
    coarse = (drawn * 256).astype(np.uint8).reshape(-1, _COARSE, _COARSE, channels)
    images = np.empty((counter.count, height, width, channels), np.uint8)
    for image, cells in zip(images, coarse, strict=True):
        for channel in range(channels):
            picture = Image.fromarray(np.ascontiguousarray(cells[..., channel]))
            resized = picture.resize((width, height), Image.Resampling.BICUBIC)
            image[..., channel] = np.asarray(resized)
    if tensor.role == "mask":
        images = np.where(images > 127, np.uint8(255), np.uint8(0))
    return images
