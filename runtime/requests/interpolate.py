"""Interpolate: images on the way between two latents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.checks import check_integer, short
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import MAX_COUNT, Labels, check_latents, check_seed
from runtime.requests.decode import decoding
from runtime.requests.prompts import Prompt
from runtime.requests.request import Described, graph_of
from runtime.sampling.paths import PathKind, interpolate
from runtime.sampling.streams import repeated


def answered_by(manifest: Manifest) -> bool:
    return "decode" in manifest.graphs


@dataclass(frozen=True, eq=False)
class Interpolate:
    """`steps` images on the way from latent `a` to latent `b`, each [*latent], ends included.

    Where the decoder takes noise, all images are given that of image 0 of `seed`.
    """

    a: ArrayLike
    b: ArrayLike
    steps: int
    kind: PathKind = "slerp"
    labels: Labels | None = None
    seed: int = 0
    truncation: float | None = None
    prompt: Prompt | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        graph_of(manifest, "decode")
        if self.kind not in ("slerp", "lerp"):
            raise InputError("kind", "'slerp' or 'lerp'", short(self.kind))
        steps = check_integer("steps", self.steps, 2, MAX_COUNT)
        (a, size), (b, other) = (
            check_latents(field, given, manifest, single=True)
            for field, given in (("a", self.a), ("b", self.b))
        )
        if size != other:
            raise InputError("b", f"a latent of the size of a, {dict(size)}", f"{dict(other)}")

        def latents(start: int, stop: int) -> Float32Array:
            fractions = np.arange(start, stop) / (steps - 1)
            return interpolate(a[0], b[0], fractions, self.kind)

        return decoding(
            manifest,
            steps,
            latents,
            size,
            labels=self.labels,
            prompt=self.prompt,
            truncation=self.truncation,
            noise_of=repeated(check_seed("seed", self.seed), steps),
        )
