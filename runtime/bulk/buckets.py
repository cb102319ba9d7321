"""Sizes of about the same area for pictures of every shape: aspect ratio buckets.

Trainers of diffusion models crop a picture to the nearest of such sizes instead of to a square
(NovelAI 2022, https://github.com/NovelAI/novelai-aspect-ratio-bucketing).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from runtime.artifact.manifest import Axis, Manifest
from runtime.errors import InputError
from runtime.images import ImageSpec

Bucket = tuple[int, int]
"""(height, width) that a picture is brought to."""

SpecOf = Callable[[Bucket], ImageSpec]
"""What a picture (height, width) is brought to."""

_STEP = 64
"""Sides differ by so much, or by an eighth of the base where that is less."""


def buckets(manifest: Manifest, base: int) -> tuple[Bucket, ...]:
    """The sizes that a model accepts whose area is nearest below base x base, with sides from half
    of it to twice: for 1024 and multiples of 64 those of SDXL. InputError where there are none.
    """
    height, width = (manifest.axes.get(name) for name in ("height", "width"))
    if height is None or width is None:
        found = f"{manifest.name}, whose images have one size"
        raise InputError("buckets", "a model with free height and width", found)
    found = {(h, w) for h, w in _columns(height, width, base)}
    found |= {(h, w) for w, h in _columns(width, height, base)}
    if not found:
        bounds = f"height {height}, width {width}"
        raise InputError("buckets", f"a base within the model's sizes: {bounds}", f"{base}")
    return tuple(sorted(found))


def _columns(first: Axis, second: Axis, base: int) -> Iterable[tuple[int, int]]:
    """For every value of the first axis the largest of the second within the area, as in kohya-ss
    `sd-scripts`, `library/model_util.py`, `make_bucket_resolutions`."""
    low, high = base // 2, 2 * base
    step, other_step = _step(first, base), _step(second, base)
    for length in range(-(-low // step) * step, high + 1, step):
        other = base * base // length // other_step * other_step
        if low <= other <= high and first.accepts(length) and second.accepts(other):
            yield length, other


def _step(axis: Axis, base: int) -> int:
    """The smallest multiple of the axis' step that is not below the buckets'."""
    return -(-min(_STEP, max(1, base // 8)) // axis.multiple_of) * axis.multiple_of


def nearest(sizes: Sequence[Bucket], picture: tuple[int, int]) -> Bucket:
    """The bucket whose aspect ratio is nearest to that of a picture (height, width): the one that
    crops least. Of equally near ones the largest."""
    if len(sizes) == 1:
        return sizes[0]
    wanted = math.log(picture[0] / picture[1])
    return min(
        sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - wanted), -math.prod(size))
    )


def nearest_of(specs: Mapping[Bucket, ImageSpec]) -> SpecOf:
    """The images of the bucket that is nearest to a picture."""
    sizes = tuple(specs)
    return lambda picture: specs[nearest(sizes, picture)]


def tag(bucket: Bucket) -> str:
    """A bucket in names: `512x768`."""
    return f"{bucket[0]}x{bucket[1]}"
