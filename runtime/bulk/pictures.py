"""From a picture's file to the pixels that a network is given, and where they were in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.bulk.buckets import Bucket, nearest
from runtime.bulk.sources import Item
from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array, fit, open_image, upright_size
from runtime.images.fitting import centre_box
from runtime.images.opening import max_file_bytes


@dataclass(frozen=True, slots=True)
class Row:
    """What a shard says of a picture beside the network's outputs."""

    number: int
    key: str
    size: tuple[int, int]
    """(height, width) of the upright picture."""
    crop: tuple[float, float, float, float, float]
    """The top, left, height and width of what was kept, in the picture's own pixels, and the
    scale: pixels given to the network for each of these."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that was brought to the size of its bucket: uint8 [H, W, C]."""

    row: Row
    bucket: Bucket
    pixels: UInt8Array


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture without a row, and why."""

    number: int
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """A picture that an earlier run has a row of, or has skipped."""

    number: int
    key: str


def prepared(item: Item, specs: Mapping[Bucket, ImageSpec], max_pixels: int) -> Picture | Skipped:
    """Read a picture and bring it to the bucket whose shape is nearest to its own: resized to
    cover it, and cropped in the middle (`runtime.images.fit`)."""
    try:
        image = open_image(item.read(max_file_bytes(max_pixels)), max_pixels=max_pixels)
        size = upright_size(image)
        bucket = nearest(tuple(specs), size)
        pixels = fit(image, specs[bucket])
    except InputError as error:
        return Skipped(item.number, item.key, str(error))
    return Picture(Row(item.number, item.key, size, _crop(size, bucket)), bucket, pixels)


def _crop(size: tuple[int, int], bucket: Bucket) -> tuple[float, float, float, float, float]:
    left, top, right, bottom = centre_box((size[1], size[0]), (bucket[1], bucket[0]))
    return top, left, bottom - top, right - left, bucket[0] / (bottom - top)
