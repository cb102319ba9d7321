"""Decode: images of given latents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import Int64Array, Labels, check_labels, check_latents
from runtime.requests.request import Described, images_of, rows_of
from runtime.sampling.streams import Draws


@dataclass(frozen=True, eq=False)
class Decode:
    """Images of given latents [n, *latent] (and labels, for a conditional model)."""

    latents: ArrayLike
    labels: Labels | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        latents = check_latents("latents", self.latents, manifest)
        labels = check_labels(manifest, self.labels, len(latents), required=True)
        return Job("decode", len(latents), rows_of(decoder_inputs(latents, labels)), images_of)


def decoder_inputs(latents: Float32Array | Draws, labels: Int64Array | None) -> Inputs:
    if labels is None:
        return {"latents": latents}
    return {"latents": latents, "labels": np.ascontiguousarray(labels)}
