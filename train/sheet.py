"""Contact sheets of samples."""

from pathlib import Path

from PIL import Image

from runtime.images import UInt8Array, contact_sheet, to_picture

_SIDE = 1024
"""Pixels along the side of a sheet, at most, if its pictures are not larger than a quarter."""


def side(size: int) -> int:
    """How many pictures of `size` pixels lie along each side of a sheet: 4 to 10."""
    return max(4, min(10, _SIDE // size))


def save_sheet(path: Path, images: UInt8Array) -> UInt8Array:
    """Write images [N, H, W, C] as one PNG, row by row, small ones enlarged; returns its pixels
    [rows * H, columns * W, C] as they were."""
    sheet = contact_sheet(images, side(images.shape[1]))
    picture = to_picture(sheet)
    scale = 2 if images.shape[1] < 64 else 1
    size = (picture.width * scale, picture.height * scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize(size, Image.Resampling.NEAREST).save(path)
    return sheet
