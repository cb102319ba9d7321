"""How several images are shown: on one sheet, or one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.images.pixels import UInt8Array, contact_sheet
from runtime.images.volumes import as_pictures

MAX_SCALE = 32
DEFAULT_FPS = 12
MAX_FPS = 50
"""GIF counts in hundredths of a second, and what is shown for one of them, browsers slow down."""


@dataclass(frozen=True)
class Layout:
    """`columns` of a sheet (about square without), `scale`: each pixel becomes so many by so many,
    and for animations frames a second, and whether they go `there_and_back`."""

    columns: int | None = None
    scale: int = 1
    fps: int = DEFAULT_FPS
    there_and_back: bool = False

    def sheet(self, images: UInt8Array) -> UInt8Array:
        """Images [n, h, w, C], or pictures of volumes, as one: [rows * h * scale,
        columns * w * scale, C]."""
        return enlarged(contact_sheet(as_pictures(images), self.columns), self.scale)

    def frames(self, count: int) -> Sequence[int]:
        """The numbers of the images that an animation shows, one after another."""
        there = range(count)
        return [*there, *there[-2:0:-1]] if self.there_and_back else there


def enlarged(images: UInt8Array, scale: int) -> UInt8Array:
    """Images [..., h, w, C] as [..., h * scale, w * scale, C]: each pixel as a square, since small
    images that are smoothed look like larger ones out of focus."""
    if scale == 1:
        return images
    return np.repeat(np.repeat(images, scale, axis=-2), scale, axis=-3)
