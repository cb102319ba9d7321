"""Seeded inputs of any graph: to compare engines, to time them, and to check an export."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.artifact.prior import Mixture
from runtime.artifact.size import Size
from runtime.artifact.tensors import Role, Signature, TensorSpec
from runtime.engines.backend import arrays
from runtime.images import UInt8Array
from runtime.requests.inputs import (
    NO_TRUNCATION,
    NORMAL_BOUND,
    Conditions,
    drawn_conditions,
    latent_draws,
    noise_streams,
)
from runtime.requests.request import Described
from runtime.sampling.streams import Counter, Stream, uniforms

_LAYERS = 4
"""Examples mix styles from one of the first layers on."""
_COARSE = 8
"""Cells along a side of an example image: it has shapes, as pictures do, not white noise."""


def example_inputs(
    graphs: Mapping[str, Signature],
    graph: str,
    counter: Counter,
    size: Size,
    *,
    prior: Mixture | None = None,
    drawn: Mapping[Role, NDArray[Any]] | None = None,
    truncation: float | None = None,
    mixes: bool = True,
) -> dict[str, NDArray[Any]]:
    """Inputs of one of an artifact's graphs for some items of a seed. Latents are those
    of `Sample` for the same items, and so are labels and prompts, where `drawn` has
    `drawn_conditions` of them; with `mixes`, styles of other latents are mixed in."""
    spec = graphs[graph]
    given: dict[Role, Any] = dict(drawn or {})
    for tensor in spec.inputs:
        if tensor.role == "latents":
            given["latents"] = latent_draws(tensor.at(size), prior, counter, truncation)
        elif tensor.role == "mixing_latents" and mixes:
            others = replace(counter, seed=counter.seed + 1)
            given["mixing_latents"] = latent_draws(tensor.at(size), prior, others, truncation)
        elif tensor.role == "mixing_layer" and mixes:
            given["mixing_layer"] = (counter.numbers()[1] % _LAYERS).astype(np.float32)
        elif tensor.role in ("images", "mask"):
            given[tensor.role] = _pictures(tensor, counter, size)
    rest = Conditions(
        spec,
        size,
        noise_streams(graphs, graph),
        None,
        NO_TRUNCATION,
        counter,
    )
    return arrays(rest.rows(0, counter.count, given))


def examples_of(
    model: Described,
    counter: Counter,
    size: Size | None = None,
    *,
    graph: str | None = None,
    truncation: float | None = None,
) -> dict[str, NDArray[Any]]:
    """`example_inputs` of a model's graph: its main one, at the default size, without others."""
    manifest = model.manifest
    if manifest.prior == "truncated_normal":
        truncation = NORMAL_BOUND
    return example_inputs(
        manifest.graphs,
        graph or manifest.main_graph,
        counter,
        manifest.default_size if size is None else size,
        prior=model.prior,
        drawn=drawn_conditions(len(manifest.labels or ()), manifest.vocabulary, counter),
        truncation=truncation,
        mixes=False,
    )


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
