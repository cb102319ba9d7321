"""Contact sheets of samples."""

import io
from pathlib import Path

from PIL import Image

from runtime.images import UInt8Array, contact_sheet, to_picture
from runtime.images.volumes import as_pictures
from runtime.writing import write_whole

_SIDE = 1024
"""Pixels along the side of a sheet, at most, if its pictures are not larger than a quarter."""


def grid(size: int, classes: int = 0) -> tuple[int, int]:
    """(rows, columns) of a sheet of pictures of `size` pixels: 4 to 10 each. Where there are so few
    classes, a column for each."""
    side = max(4, min(10, _SIDE // size))
    return side, classes if 1 < classes <= side else side


def pictures(images: UInt8Array, layers: int) -> UInt8Array:
    """Images as they are; those that hold the layers of a volume one below another, [N, D * H, W,
    1], as pictures of the volume."""
    if layers == 1:
        return images
    count, height, width, _ = images.shape
    return as_pictures(images.reshape(count, layers, height // layers, width, 1))


def save_sheet(path: Path, images: UInt8Array, columns: int) -> UInt8Array:
    """Write images [N, H, W, C] as one PNG, row by row, small ones enlarged; returns its pixels
    [rows * H, columns * W, C] as they were."""
    sheet = contact_sheet(images, columns)
    return save_picture(path, sheet, scale=2 if images.shape[1] < 64 else 1)


def save_picture(path: Path, image: UInt8Array, scale: int = 1) -> UInt8Array:
    """Write an image [H, W, C] as PNG, each pixel `scale` wide, and return it."""
    picture = to_picture(image)
    size = (picture.width * scale, picture.height * scale)
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole: the page of a run shows it as soon as it is there.
    write_whole(path, buffer.getvalue())
    return image
