"""From a picture's file to the pixels that a network is given, and where they were in it."""

from dataclasses import dataclass
from hashlib import sha256

from runtime.bulk.buckets import Bucket, SpecOf
from runtime.bulk.sources import Item
from runtime.errors import InputError, StorageError
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
    """A picture that was brought to a size: uint8 [H, W, C]."""

    row: Row
    spec: ImageSpec
    pixels: UInt8Array

    @property
    def bucket(self) -> Bucket:
        return self.spec.height, self.spec.width


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


class Keys:
    """The keys of pictures in their order, as one mark: whether those of an earlier run come."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, key: str) -> None:
        # What is no UTF-8 in a file's name is a surrogate.
        self._hash.update(key.encode("utf-8", "surrogatepass") + b"\0")

    @property
    def mark(self) -> str:
        return self._hash.hexdigest()


def prepared(item: Item, spec_of: SpecOf, max_pixels: int) -> Picture | Skipped:
    """Read a picture and bring it to what `spec_of` gives for its size: resized to cover it, and
    cropped in the middle (`runtime.images.fit`). StorageError where what holds it fails: then it is
    not this picture that is skipped, for the next ones would be, too."""
    try:
        image = open_image(item.read(max_file_bytes(max_pixels)), max_pixels=max_pixels)
        size = upright_size(image)
        spec = spec_of(size)
        pixels = fit(image, spec)
    except StorageError:
        raise
    except InputError as error:
        return Skipped(item.number, item.key, str(error))
    crop = _crop(size, (spec.height, spec.width))
    return Picture(Row(item.number, item.key, size, crop), spec, pixels)


def _crop(size: tuple[int, int], bucket: Bucket) -> tuple[float, float, float, float, float]:
    left, top, right, bottom = centre_box((size[1], size[0]), (bucket[1], bucket[0]))
    return top, left, bottom - top, right - left, bucket[0] / (bottom - top)
