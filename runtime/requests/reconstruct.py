"""Reconstruct: encode images, then decode the latents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import Labels, check_labels
from runtime.requests.decode import Decode
from runtime.requests.encode import encoder_inputs
from runtime.requests.request import Described, finite, rows_of


@dataclass(frozen=True, eq=False)
class Reconstruct:
    """Images decoded from the latents of images uint8 [n, H, W, C]: from each posterior's mean or,
    where the encoder takes noise, from its latent of noise 0, which is the mean of a normal.

    A conditional model needs labels, whether or not its encoder takes them.
    """

    images: NDArray[Any]
    labels: Labels | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        encoder_labels = self.labels if manifest.encoder_takes_labels else None
        inputs = encoder_inputs(self.images, encoder_labels, manifest)
        count = len(inputs["images"])
        # What the decoder would refuse is refused before the encoder runs.
        labels = check_labels(manifest, self.labels, count, required=True)

        def rows(start: int, stop: int) -> Inputs:
            given = rows_of(inputs)(start, stop)
            if manifest.encoder_takes_noise:
                given["noise"] = np.zeros((stop - start, *manifest.latent.shape), np.float32)
            return given

        def decode(latents: Float32Array, start: int) -> Job[UInt8Array]:
            chosen = None if labels is None else labels[start : start + len(latents)]
            return Decode(latents, chosen).job(model)

        return Job("encode", count, rows, _centre).followed_by(decode)


def _centre(outputs: Tensors, start: int) -> Float32Array:
    return finite(outputs["mean" if "mean" in outputs else "latents"])
