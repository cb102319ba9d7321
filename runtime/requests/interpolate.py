"""Interpolate: images on the way between two latents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.errors import InputError
from runtime.images import UInt8Array
from runtime.requests.checks import (
    MAX_COUNT,
    Labels,
    check_integer,
    check_labels,
    check_latent,
    short,
)
from runtime.requests.decode import decoder_inputs
from runtime.requests.request import Described, images_of
from runtime.sampling.paths import PathKind, interpolate


@dataclass(frozen=True, eq=False)
class Interpolate:
    """`steps` images on the way from latent `a` to latent `b`, each [*latent], ends included."""

    a: ArrayLike
    b: ArrayLike
    steps: int
    kind: PathKind = "slerp"
    labels: Labels | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        if self.kind not in ("slerp", "lerp"):
            raise InputError("kind", "'slerp' or 'lerp'", short(self.kind))
        steps = check_integer("steps", self.steps, 2, MAX_COUNT)
        a, b = (check_latent(f, x, manifest) for f, x in (("a", self.a), ("b", self.b)))
        labels = check_labels(manifest, self.labels, steps, required=True)

        def rows(start: int, stop: int) -> Inputs:
            fractions = np.arange(start, stop) / (steps - 1)
            latents = interpolate(a, b, fractions, self.kind)
            return decoder_inputs(latents, None if labels is None else labels[start:stop])

        return Job("decode", steps, rows, images_of)
