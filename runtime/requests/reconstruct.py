"""Reconstruct: the latents from which images are decoded again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.batching.batcher import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.images import Float32Array
from runtime.requests.checks import Labels
from runtime.requests.encode import encoder_inputs
from runtime.requests.request import Described, finite, rows_of


@dataclass(frozen=True, eq=False)
class Centre:
    """The latents that reconstruct images uint8 [n, H, W, C]: each posterior's mean or, where the
    encoder takes noise, what it makes of noise 0, which is the mean where nothing bends it."""

    images: NDArray[Any]
    labels: Labels | None = None

    def job(self, model: Described) -> Job[Float32Array]:
        manifest = model.manifest
        inputs = encoder_inputs(self.images, self.labels, manifest)

        def rows(start: int, stop: int) -> Inputs:
            given = rows_of(inputs)(start, stop)
            if manifest.encoder_takes_noise:
                given["noise"] = np.zeros((stop - start, *manifest.latent.shape), np.float32)
            return given

        return Job("encode", len(inputs["images"]), rows, _centre)


def _centre(outputs: Tensors) -> Float32Array:
    return finite(outputs["mean" if "mean" in outputs else "latents"])
