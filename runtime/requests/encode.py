"""Encode: the posterior of images, a draw from it, or their one latent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.checks import as_list
from runtime.engines.backend import Inputs, Tensors
from runtime.errors import InputError
from runtime.requests.checks import Labels, check_images, check_seed
from runtime.requests.inputs import checked_labels, conditions
from runtime.requests.large_jobs import checked_tile
from runtime.requests.request import Described, graph_of
from runtime.sampling.posterior import LARGEST, Encoding, Posterior, PosteriorDraw, usable
from runtime.sampling.streams import MAX_SEED, Counter

Encoded = Posterior | PosteriorDraw | Encoding

T = TypeVar("T")


def answered_by(manifest: Manifest) -> bool:
    return "encode" in manifest.graphs


@dataclass(frozen=True, eq=False)
class Encode:
    """The posterior of images uint8 [n, H, W, C]; with a `seed` one latent drawn from each image's
    posterior, by noise that depends on (seed, i) alone; with `seeds`, one for each image, by noise
    0 of its seed.

    An encoder that takes noise (a flow) gives draws only: it needs a seed. One without a posterior
    gives an `Encoding`, and takes no seed. NotFiniteError names the image for which an encoder
    gives what no decoder takes. `tile`: as in `Decode`; the latents (means and log variances) of
    tiles are blended where tiles meet; codes, and the latents that they stand for, are not.
    """

    images: NDArray[Any]
    labels: Labels | None = None
    seed: int | None = None
    seeds: Sequence[int] | None = None
    tile: int | None = None

    def job(self, model: Described) -> Job[Encoded]:
        manifest = model.manifest
        spec = graph_of(manifest, "encode")
        noisy, drawn = takes_noise(manifest), has_posterior(manifest)
        images, _ = check_images("images", self.images, spec, manifest)
        noise_of = self._noise_of(len(images))
        if not drawn and noise_of is not None:
            raise InputError("seed", "none: this encoder draws nothing", "one")
        if noisy and noise_of is None:
            expected = f"an integer in [0, {MAX_SEED}): this encoder draws latents"
            raise InputError("seed", expected, "none")

        def finish(outputs: Tensors, start: int) -> Encoded:
            # In the order that every encoder's signature has.
            first, *rest = outputs.values()
            if not drawn:
                return Encoding(usable(first, start), *rest)
            (second,) = rest
            if noisy:
                return PosteriorDraw(usable(first, start), usable(second, start, most=LARGEST))
            posterior = Posterior(usable(first, start), usable(second, start, most=LARGEST))
            if noise_of is None:
                return posterior
            return posterior.drawn(noise_of.slice(start, start + len(posterior)), start)

        return encoding(manifest, images, self.labels, noise_of, finish, self.tile)

    def _noise_of(self, count: int) -> Counter | None:
        if self.seeds is not None:
            expected = f"one for each of {count} images, and no seed beside them"
            given = as_list("seeds", self.seeds, expected)
            seeds = [check_seed(f"seeds[{i}]", seed) for i, seed in enumerate(given)]
            if self.seed is not None or len(seeds) != count:
                raise InputError("seeds", expected, f"{len(seeds)}")
            return Counter.of_seeds(seeds)
        return None if self.seed is None else Counter(check_seed("seed", self.seed), 0, count)


def encoding(
    manifest: Manifest,
    images: NDArray[Any],
    labels: Labels | None,
    noise_of: Counter | None,
    finish: Callable[[Tensors, int], T],
    tile: int | None = None,
) -> Job[T]:
    """The job of encoding images; without `noise_of`, noise is 0."""
    spec = graph_of(manifest, "encode")
    tile = checked_tile(manifest, "encode", tile)
    checked, size = check_images("images", images, spec, manifest)
    count = len(checked)
    rest = conditions(
        manifest,
        "encode",
        spec,
        size,
        labels=checked_labels(manifest, "encode", labels, count),
        noise_of=noise_of,
    )

    def rows(start: int, stop: int) -> Inputs:
        return rest.rows(start, stop, {"images": checked[start:stop]})

    return Job("encode", count, rows, finish, size, tile=tile)


def takes_noise(manifest: Manifest) -> bool:
    """Whether the encoder turns noise from N(0, I) into latents of the posterior (a flow): it
    returns these and their log density, not a mean and a log variance."""
    graph = manifest.graphs.get("encode")
    return graph is not None and graph.output("log_density") is not None


def has_posterior(manifest: Manifest) -> bool:
    """Whether the encoder gives a distribution: one that can be drawn from."""
    graph = manifest.graphs.get("encode")
    roles = ("log_variance", "log_density")
    return graph is not None and any(graph.output(role) is not None for role in roles)
