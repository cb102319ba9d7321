"""Decode: images of given latents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import Size
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import Labels, check_latents, check_seed
from runtime.requests.inputs import checked_labels, checked_truncation, conditions
from runtime.requests.large_jobs import checked_tile
from runtime.requests.prompts import Prompt, checked_prompts
from runtime.requests.request import Described, graph_of, images_of
from runtime.sampling.streams import Counter, repeated


def answered_by(manifest: Manifest) -> bool:
    return "decode" in manifest.graphs


@dataclass(frozen=True, eq=False)
class Decode:
    """Images of given latents [n, *latent] (and labels or prompts, for a conditional model).

    Where the decoder takes noise, image i is given that of (`seed`, `offset` + i), or with
    `same_noise` each that of (`seed`, 0), so that images differ by their latents alone: along a
    path, say.

    `size` ([height, width]) is needed only where the latents' own shape does not say it.

    `tile`: the edge, in pixels of height and width, of the overlapping tiles that the images are
    made in (the manifest's `tiling` says how near they come to whole ones); without it they are
    made whole where they fit.
    """

    latents: ArrayLike
    labels: Labels | None = None
    seed: int = 0
    truncation: float | None = None
    size: Sequence[int] | None = None
    tile: int | None = None
    same_noise: bool = False
    offset: int = 0
    prompt: Prompt | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        spec = graph_of(manifest, "decode")
        tile = checked_tile(manifest, "decode", self.tile)
        latents, size = check_latents(
            "latents", self.latents, manifest, self.size, tiled=spec.tileable
        )
        seed, count = check_seed("seed", self.seed), len(latents)
        job = decoding(
            manifest,
            count,
            lambda start, stop: latents[start:stop],
            size,
            labels=self.labels,
            prompt=self.prompt,
            truncation=self.truncation,
            noise_of=repeated(seed, count)
            if self.same_noise
            else Counter(seed, check_seed("offset", self.offset), count),
        )
        return replace(job, tile=tile)


def decoding(
    manifest: Manifest,
    count: int,
    latents: Callable[[int, int], Float32Array],
    size: Size,
    *,
    labels: Labels | None,
    prompt: Prompt | None,
    truncation: float | None,
    noise_of: Counter,
) -> Job[UInt8Array]:
    """The job of decoding latents that are made slice by slice."""
    spec = graph_of(manifest, "decode")
    rest = conditions(
        manifest,
        "decode",
        spec,
        size,
        labels=checked_labels(manifest, "decode", labels, count),
        prompts=checked_prompts(manifest, "decode", prompt, count),
        truncation=checked_truncation(spec, truncation),
        noise_of=noise_of,
    )

    def rows(start: int, stop: int) -> Inputs:
        return rest.rows(start, stop, {"latents": latents(start, stop)})

    return Job("decode", count, rows, images_of, size)
