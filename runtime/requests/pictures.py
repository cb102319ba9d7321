"""The sizes of pictures: what a graph is given, and what a job makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import SIZE_AXES, Size, parse
from runtime.artifact.tensors import TensorSpec
from runtime.batching.jobs import Job
from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array
from runtime.requests.checks import check_size
from runtime.requests.request import graph_of

MAX_SIDE = 4096
"""Of an `ImageSpec`."""


def picture_spec(
    manifest: Manifest,
    graph: str,
    size: Sequence[int] | None,
    picture: tuple[int, int],
    tile: int | None = None,
) -> ImageSpec:
    """The images that are made of the pictures of a request, before a graph is given them.

    Of `size` ([height, width]) where the request names one; else, where the axes are named, of the
    accepted size nearest to that of its first `picture` (height, width): one that is taken at once,
    unless the request names a `tile`. A picture that is translated keeps its own size (`Frame`), or
    is made as large as the artifact takes. InputError for a size that the artifact does not take or
    that is beyond MAX_SIDE, and for an artifact without such a graph.
    """
    spec = graph_of(manifest, graph)
    tensor = spec.input("images")
    chosen = dict(check_size(manifest, size, tiled=spec.tileable))
    if size is None:
        lengths = picture
        if graph == "translate":
            lengths = _within(manifest, picture, tiled=spec.tileable)
        for name, length in zip(SIZE_AXES, lengths, strict=True):
            if name in chosen:
                axis = manifest.axes[name]
                most = MAX_SIDE // axis.multiple_of * axis.multiple_of
                nearest = min(axis.nearest(length, tiled=tile is not None), most)
                chosen[name] = length if graph == "translate" else nearest
    shape = manifest.image().shape if tensor is None else tensor.at(tuple(chosen.items()))
    height, width, channels = shape
    if max(height, width) > MAX_SIDE:
        expected = (
            f"at most {MAX_SIDE} pixels a side of pictures; larger images are given as arrays"
        )
        raise InputError("size", expected, f"{height} x {width}")
    return ImageSpec.model_validate({"height": height, "width": width, "channels": channels})


def size_or_default(
    manifest: Manifest, size: Sequence[int] | None, *, tiled: bool = False
) -> tuple[int, int]:
    """(height, width) of images: `size` as `check_size` takes it, or the artifact's default."""
    check_size(manifest, size, tiled=tiled)
    image = manifest.image()
    height, width = (image.height, image.width) if size is None else size
    return height, width


def _within(manifest: Manifest, picture: tuple[int, int], *, tiled: bool) -> tuple[int, int]:
    """A picture's size, or the largest of its shape that the artifact takes."""
    axes = [manifest.axes[name] for name in SIZE_AXES if name in manifest.axes]
    most = [MAX_SIDE if tiled else min(axis.max, MAX_SIDE) for axis in axes]
    if len(most) < len(SIZE_AXES):  # the other side is cropped to the model's
        return picture
    ratio = min(1.0, *(limit / length for limit, length in zip(most, picture, strict=True)))
    height, width = (max(1, round(length * ratio)) for length in picture)
    return height, width


@dataclass(frozen=True)
class Frame:
    """Images of any size within those of an accepted size that a graph is given: reflections of
    them fill the rest, to the right and below, and are cut off from what the graph makes."""

    own: tuple[int, int]
    """(height, width)."""
    given: tuple[int, int]

    @classmethod
    def of(cls, manifest: Manifest, own: tuple[int, int], *, tiled: bool = False) -> "Frame":
        """The smallest accepted size that holds images of a size; that size itself where there is
        none."""
        lengths = list(own)
        for i, name in enumerate(SIZE_AXES):
            if name in manifest.axes:
                axis = manifest.axes[name]
                lengths[i] = max(axis.min, -(-own[i] // axis.multiple_of) * axis.multiple_of)
                if not axis.accepts(lengths[i], tiled=tiled):
                    return cls(own, own)
        return cls(own, (lengths[0], lengths[1]))

    def pad(self, images: NDArray[Any]) -> NDArray[Any]:
        """Images [n, h, w, C] of the own size as [n, H, W, C]."""
        if self.own == self.given:
            return images
        more = [(0, given - own) for own, given in zip(self.own, self.given, strict=True)]
        return np.pad(images, [(0, 0), *more, (0, 0)], mode="reflect")

    def own_size(self, size: Size) -> Size:
        """An accepted size with the own height and width in place of its."""
        own: dict[str, int] = dict(zip(SIZE_AXES, self.own, strict=True))
        return tuple((name, own.get(name, value)) for name, value in size)

    def made(self, size: Size, tensor: TensorSpec) -> tuple[int, int]:
        """(height, width) of what is made of images of the own size, in a tensor of images that is
        made at a size."""
        own = dict(self.own_size(size))
        lengths = list(tensor.at(size)[:2])
        for i, dim in enumerate(tensor.shape[:2]):
            if isinstance(dim, str):
                factor, axis, divisor = parse(dim)
                lengths[i] = -(-factor * own[axis] // divisor)
        return lengths[0], lengths[1]


def cropped(images: UInt8Array, made: tuple[int, int]) -> UInt8Array:
    """The upper left part of images [n, H, W, C]: [n, *made, C]."""
    if images.shape[1:3] == made:
        return images
    return np.ascontiguousarray(images[:, : made[0], : made[1]])


def image_shape(manifest: Manifest, job: Job[Any]) -> tuple[int, ...]:
    """(H, W, C) of the images that a job makes; (D, H, W, 1) of volumes."""
    made = graph_of(manifest, job.graph)
    if not made.gives_pixels:  # what it encodes is decoded again
        made = graph_of(manifest, "decode")
    shape = made.outputs[0].at(job.size)
    return shape if job.made is None else (*job.made, shape[-1])
