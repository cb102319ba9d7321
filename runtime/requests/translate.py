"""Translate: images of other images (super-resolution, style, inpainting, ...)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.tensors import Role
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.images import UInt8Array
from runtime.requests.checks import (
    Labels,
    as_array,
    check_images,
    check_mask,
    check_seed,
    expected_images,
)
from runtime.requests.inputs import checked_labels, checked_truncation, conditions
from runtime.requests.large_jobs import checked_tile
from runtime.requests.pictures import Frame, cropped
from runtime.requests.request import Described, graph_of, images_of
from runtime.sampling.streams import Counter


def answered_by(manifest: Manifest) -> bool:
    return "translate" in manifest.graphs


def scale(manifest: Manifest) -> float:
    """How many times as high as the image that it is given the image is that a translator makes."""
    spec, size = graph_of(manifest, "translate"), manifest.default_size
    given, made = spec.input("images"), spec.output("images")
    return 1.0 if given is None or made is None else made.at(size)[0] / given.at(size)[0]


@dataclass(frozen=True, eq=False)
class Translate:
    """The images that a network makes of images uint8 [n, H, W, C].

    Of any size up to the artifact's largest, or larger where it works in tiles: where it takes
    multiples of some number alone, it is given the images with reflections beside them, and what it
    makes of those is cut off.

    `mask`, where the network takes one: uint8 [n, H, W, 1] or [n, H, W], 255 where the network is
    to act; one mask [1, H, W, 1] serves all images. Its noise, if it takes any, is that of
    (`seed`, `offset` + i). `tile`: as in `Decode`.
    """

    images: NDArray[Any]
    mask: NDArray[Any] | None = None
    labels: Labels | None = None
    seed: int = 0
    truncation: float | None = None
    tile: int | None = None
    offset: int = 0

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        spec = graph_of(manifest, "translate")
        tile = checked_tile(manifest, "translate", self.tile)
        given = as_array("images", self.images, lambda: expected_images(spec, manifest))
        frame, seen = _framed(manifest, given, tiled=spec.tileable)
        _, size = check_images("images", seen, spec, manifest)
        count = len(given)
        mask = check_mask("mask", self.mask, spec, frame.own_size(size), count)
        seed, offset = check_seed("seed", self.seed), check_seed("offset", self.offset)
        rest = conditions(
            manifest,
            "translate",
            spec,
            size,
            labels=checked_labels(manifest, "translate", self.labels, count),
            truncation=checked_truncation(spec, self.truncation),
            noise_of=Counter(seed, offset, count),
        )
        images = spec.output("images")
        made = frame.own if images is None else frame.made(size, images)

        def rows(start: int, stop: int) -> Inputs:
            inputs: dict[Role, NDArray[Any]] = {"images": frame.pad(given[start:stop])}
            if mask is not None:
                inputs["mask"] = frame.pad(mask[start:stop])
            return rest.rows(start, stop, inputs)

        def finish(outputs: Tensors, start: int) -> UInt8Array:
            return cropped(images_of(outputs), made)

        return Job("translate", count, rows, finish, size, made, tile=tile)


def _framed(manifest: Manifest, images: NDArray[Any], *, tiled: bool) -> tuple[Frame, NDArray[Any]]:
    """The frame of images, and an array of the type and shape that the graph is given, for its
    check: only one value of each image is behind it."""
    if images.ndim != 4 or 0 in images.shape:
        return Frame((0, 0), (0, 0)), images
    frame = Frame.of(manifest, (images.shape[1], images.shape[2]), tiled=tiled)
    shape = (len(images), *frame.given, images.shape[3])
    return frame, np.broadcast_to(images[:, :1, :1], shape)
