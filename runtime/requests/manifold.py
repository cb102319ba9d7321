"""Manifold: a grid of images over a 2-D latent space."""

from dataclasses import dataclass

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.checks import check_integer
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import Labels, check_seed
from runtime.requests.decode import decoding
from runtime.requests.prompts import Prompt
from runtime.requests.request import Described
from runtime.sampling.paths import manifold_grid
from runtime.sampling.streams import repeated

MAX_STEPS = 1000


def answered_by(manifest: Manifest) -> bool:
    latent = manifest.latent
    return "decode" in manifest.graphs and latent is not None and latent.shape == (2,)


@dataclass(frozen=True, eq=False)
class Manifold:
    """A steps x steps grid over a 2-D latent space, row by row: [steps * steps, H, W, C]."""

    steps: int
    labels: Labels | None = None
    seed: int = 0
    prompt: Prompt | None = None

    def latents(self, model: Described) -> Float32Array:
        """The latents of the grid: [steps * steps, 2]."""
        manifest = model.manifest
        if not answered_by(manifest):
            shape = None if manifest.latent is None else list(manifest.latent.shape)
            raise InputError("model", "one with a 2-D latent", f"latent shape {shape}")
        return manifold_grid(check_integer("steps", self.steps, 1, MAX_STEPS), model.prior)

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest, grid = model.manifest, self.latents(model)
        return decoding(
            manifest,
            len(grid),
            lambda start, stop: grid[start:stop],
            manifest.default_size,
            labels=self.labels,
            prompt=self.prompt,
            truncation=None,
            noise_of=repeated(check_seed("seed", self.seed), len(grid)),
        )
