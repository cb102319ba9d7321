"""Encode: the posterior of images, or a draw from it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.errors import InputError
from runtime.requests.checks import (
    Labels,
    check_images,
    check_labels,
    check_seed,
    short,
)
from runtime.requests.request import Described, finite, rows_of
from runtime.sampling.posterior import Posterior, PosteriorDraw, posterior_noise
from runtime.sampling.streams import MAX_SEED

Encoded = Posterior | PosteriorDraw


@dataclass(frozen=True, eq=False)
class Encode:
    """The posterior of images uint8 [n, H, W, C] of the model's exact size; with a `seed` one
    latent drawn from each image's posterior, by noise that depends on (seed, i) alone.

    An encoder that takes noise (a flow) has no posterior to tell without a draw: it needs a seed.
    """

    images: NDArray[Any]
    labels: Labels | None = None
    seed: int | None = None

    def job(self, model: Described) -> Job[Encoded]:
        manifest = model.manifest
        inputs = encoder_inputs(self.images, self.labels, manifest)
        count = len(inputs["images"])
        if self.seed is None:
            if manifest.encoder_takes_noise:
                expected = f"an integer in [0, {MAX_SEED}): this encoder draws latents"
                raise InputError("seed", expected, "none")
            return Job[Encoded]("encode", count, rows_of(inputs), _posterior)
        seed = check_seed("seed", self.seed)
        if not manifest.encoder_takes_noise:
            return Job[Encoded]("encode", count, rows_of(inputs), partial(_drawn, seed))

        def rows(start: int, stop: int) -> Inputs:
            noise = posterior_noise(seed, start, stop - start, manifest.latent.shape)
            return {**rows_of(inputs)(start, stop), "noise": noise}

        return Job[Encoded]("encode", count, rows, _draw)


def encoder_inputs(
    images: NDArray[Any], labels: Labels | None, manifest: Manifest
) -> dict[str, NDArray[Any]]:
    """What `encode` is given for all images, but noise."""
    if not manifest.encode:
        raise InputError("model", "one with an encoder", f"{manifest.name}, which has none")
    checked = check_images("images", images, manifest)
    inputs: dict[str, NDArray[Any]] = {"images": checked}
    if manifest.encoder_takes_labels:
        each = check_labels(manifest, labels, len(checked), required=True)
        inputs["labels"] = np.ascontiguousarray(each)
    elif labels is not None:
        raise InputError("labels", "none: this encoder takes no labels", short(labels))
    return inputs


def _posterior(outputs: Tensors, start: int) -> Posterior:
    return Posterior(finite(outputs["mean"]), finite(outputs["log_variance"]))


def _draw(outputs: Tensors, start: int) -> PosteriorDraw:
    return PosteriorDraw(finite(outputs["latents"]), finite(outputs["log_density"]))


def _drawn(seed: int, outputs: Tensors, start: int) -> PosteriorDraw:
    return _posterior(outputs, start).draw(seed, start)
