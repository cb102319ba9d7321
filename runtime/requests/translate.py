"""Translate: images of other images (super-resolution, style, inpainting, ...)."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.tensors import Role
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.images import UInt8Array
from runtime.requests.checks import Labels, check_images, check_mask, check_seed
from runtime.requests.inputs import checked_labels, checked_truncation, conditions
from runtime.requests.request import Described, graph_of, images_of
from runtime.requests.tiled import checked_tile
from runtime.sampling.streams import Counter


def answered_by(manifest: Manifest) -> bool:
    return "translate" in manifest.graphs


@dataclass(frozen=True, eq=False)
class Translate:
    """The images that a network makes of images uint8 [n, H, W, C].

    `mask`, where the network takes one: uint8 [n, H, W, 1] or [n, H, W], 255 where the network is
    to act; one mask [1, H, W, 1] serves all images. Its noise, if it takes any, is that of
    (`seed`, i). `tile`: as in `Decode`.
    """

    images: NDArray[Any]
    mask: NDArray[Any] | None = None
    labels: Labels | None = None
    seed: int = 0
    truncation: float | None = None
    tile: int | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        spec = graph_of(manifest, "translate")
        tile = checked_tile(manifest, "translate", self.tile)
        images, size = check_images("images", self.images, spec, manifest)
        count = len(images)
        mask = check_mask("mask", self.mask, spec, size, count)
        rest = conditions(
            manifest,
            "translate",
            spec,
            size,
            labels=checked_labels(manifest, "translate", self.labels, count),
            truncation=checked_truncation(spec, self.truncation),
            noise_of=Counter(check_seed("seed", self.seed), 0, count),
        )

        def rows(start: int, stop: int) -> Inputs:
            given: dict[Role, NDArray[Any]] = {"images": images[start:stop]}
            if mask is not None:
                given["mask"] = mask[start:stop]
            return rest.rows(start, stop, given)

        return Job("translate", count, rows, images_of, size, tile=tile)
