"""The sizes of pictures: what a graph is given, and what a job makes."""

from collections.abc import Sequence
from typing import Any

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import SIZE_AXES
from runtime.batching.jobs import Job
from runtime.images import ImageSpec
from runtime.requests.checks import check_size
from runtime.requests.request import graph_of


def picture_spec(
    manifest: Manifest,
    graph: str,
    size: Sequence[int] | None,
    picture: tuple[int, int],
    tile: int | None = None,
) -> ImageSpec:
    """The images that a graph is given for a request of pictures.

    Of `size` ([height, width]) where the request names one; else of the accepted size nearest to
    that of its first `picture` (height, width), where the axes are named: one that is taken at
    once, unless the request names a `tile`. InputError for a size that the artifact does not take,
    and for an artifact without such a graph.
    """
    spec = graph_of(manifest, graph)
    tensor = spec.input("images")
    chosen = dict(check_size(manifest, size, tiled=spec.tileable))
    if size is None:
        for name, length in zip(SIZE_AXES, picture, strict=True):
            if name in chosen:
                chosen[name] = manifest.axes[name].nearest(length, tiled=tile is not None)
    shape = manifest.image().shape if tensor is None else tensor.at(tuple(chosen.items()))
    height, width, channels = shape
    return ImageSpec.model_validate({"height": height, "width": width, "channels": channels})


def image_shape(manifest: Manifest, job: Job[Any]) -> tuple[int, int, int]:
    """(H, W, C) of the images that a job makes."""
    made = graph_of(manifest, job.graph).output("images")
    if made is None:  # what it encodes is decoded again
        made = graph_of(manifest, "decode").output("images")
    height, width, channels = (0, 0, 0) if made is None else made.at(job.size)
    return height, width, channels
