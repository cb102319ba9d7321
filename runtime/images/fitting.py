"""The one decode, crop and resize that training and serving share."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from runtime.images import pnm
from runtime.images.colour import Colours
from runtime.images.levels import parts
from runtime.images.opening import (
    FORMATS,
    TURNED,
    PictureFile,
    orientation,
    pillow_takes,
    refusing,
)
from runtime.images.pixels import ImageSpec, UInt8Array

_FINER = 16
"""A large picture is first reduced by an integer, while it is decoded or by means of blocks, to at
least so many times the size that is wanted. Pillow's box filter takes whole pixels, so that less
would show."""


@dataclass(frozen=True)
class _Turn:
    """What makes a picture upright, and whether its left or upper edge was the right or lower one
    of the file."""

    operation: Image.Transpose
    mirrors_x: bool
    mirrors_y: bool


_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: _Turn(Image.Transpose.ROTATE_180, True, True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: _Turn(Image.Transpose.TRANSPOSE, False, False),
    6: _Turn(Image.Transpose.ROTATE_270, True, False),
    7: _Turn(Image.Transpose.TRANSVERSE, True, True),
    8: _Turn(Image.Transpose.ROTATE_90, False, True),
}


def fit(image: Image.Image, spec: ImageSpec) -> UInt8Array:
    """Decode a picture and bring it to the model's size: uint8 [H, W, C].

    It is converted to grey or RGB in sRGB, by its ICC profile if it has a sound one, laid over
    black where it is transparent (unless the model takes an alpha channel), turned upright by its
    EXIF tag, centre-cropped to the model's aspect ratio, and resized: by area averaging to shrink,
    by Lanczos to enlarge. Above 8 bits, the file's depth says which number is white; for floats it
    is 1, or the largest if that is more, and NaN is black. Of several frames the first is taken.

    InputError if the file is damaged. Memory: the decoded picture (`MAX_PIXELS`) and little more;
    `image` may be fitted again, to another size.
    """
    file = _file(image)
    with (
        refusing("a picture" if file is None else file.what),
        pillow_takes(image.width * image.height),
    ):
        return _fit(image, spec)


def _fit(image: Image.Image, spec: ImageSpec) -> UInt8Array:
    decoded, full, shrunk = _decoded(image, (spec.width, spec.height))
    turned = orientation(decoded)
    turn = _TURNS.get(turned)
    if turned in TURNED:
        full = full[1], full[0]
    size = (spec.width, spec.height)
    ratio = min(full[0] / size[0], full[1] / size[1])
    block = max(1, int(ratio / shrunk / _FINER))
    picture = _flat(decoded, block, spec.mode)
    if turn is not None:
        picture = picture.transpose(turn.operation)
    scale = shrunk * block
    if picture.size != size or scale > 1:
        # The last row and column of blocks may be cut: a mirrored picture begins with them.
        x = picture.width - full[0] / scale if turn is not None and turn.mirrors_x else 0.0
        y = picture.height - full[1] / scale if turn is not None and turn.mirrors_y else 0.0
        left, top, right, bottom = centre_box(full, size)
        box = (
            max(left / scale + x, 0.0),
            max(top / scale + y, 0.0),
            min(right / scale + x, float(picture.width)),
            min(bottom / scale + y, float(picture.height)),
        )
        method = Image.Resampling.BOX if ratio >= 1 else Image.Resampling.LANCZOS
        picture = picture.resize(size, method, box)
    return np.asarray(picture, dtype=np.uint8).reshape(spec.shape)


def _decoded(image: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int], int]:
    """The decoded picture, (width, height) of the file, and how many of its pixels are the width of
    a decoded pixel: a JPEG is made smaller as it is decoded, by 2, 4 or 8."""
    file = _file(image)
    if image.format in ("JPEG", "MPO") and file is not None:
        width, height = size[::-1] if orientation(image) in TURNED else size
        finer = (width * _FINER, height * _FINER)
        if min(image.width // finer[0], image.height // finer[1]) > 1:
            reduced = Image.open(file, formats=FORMATS)  # another handle: `image` stays as it is
            drafted = reduced.draft(None, finer)
            reduced.load()
            return reduced, image.size, round(image.width / drafted[1][2]) if drafted else 1
    if file is not None and pnm.is_slow(image):
        quick = PictureFile(pnm.scaled(image, file.getvalue()), file.what)
        image = Image.open(quick, formats=FORMATS)
    image.load()
    return image, image.size, 1


def _file(image: Image.Image) -> PictureFile | None:
    """The file of a picture that `open_image` opened and that was not decoded since."""
    if isinstance(image, ImageFile.ImageFile) and image.tile and isinstance(image.fp, PictureFile):
        return image.fp
    return None


def _flat(image: Image.Image, block: int, mode: str) -> Image.Image:
    """The picture in `mode`, with `block` x `block` pixels averaged into one, part by part."""
    colours = Colours.of(image)
    if colours.are_flat(image, mode):
        return image.reduce(block) if block > 1 else image
    size = (-(-image.width // block), -(-image.height // block))
    whole = None
    for left, top, part in parts(image, block):
        flat = colours.flat(part, mode)
        flat = flat.reduce(block) if block > 1 else flat
        if flat.size == size:
            return flat
        whole = Image.new(mode, size) if whole is None else whole
        whole.paste(flat, (left // block, top // block))
    return Image.new(mode, size) if whole is None else whole


def centre_box(full: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box that `fit` keeps of an upright picture: (left, top, right, bottom) of the largest one
    in its middle with the aspect ratio of `size`; both are (width, height)."""
    width = min(float(full[0]), full[1] * size[0] / size[1])
    height = min(float(full[1]), full[0] * size[1] / size[0])
    left, top = (full[0] - width) / 2, (full[1] - height) / 2
    return left, top, left + width, top + height
