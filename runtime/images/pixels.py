"""Pixel conventions: the one crop, resize and value range that training and serving share.

Shapes: H height, W width, C channels (1 grey, 3 RGB). Callers hold uint8 pixels.
"""

import io
import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runtime.errors import InputError

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that Pillow may open: plain pictures, not EPS, which starts another program."""

# EXIF orientation -> the operation that turns the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MAX_PIXELS = 16_000_000
"""Default limit of the pixels of one opened image: a small file can declare a huge picture."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"expected (low, high) with low < high, found {bounds}")
    return bounds


class ImageSpec(BaseModel):
    """The images of one model.

    `value_range` is the float range of images inside the *network*; uint8 [0, 255] maps linearly
    to it. The inputs and outputs of an artifact are always uint8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[1, 3]
    value_range: Annotated[tuple[float, float], AfterValidator(_ordered)] = (-1.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (self.height, self.width, self.channels)

    @property
    def mode(self) -> str:
        """Pillow's name for this kind of image: "L" or "RGB"."""
        return "L" if self.channels == 1 else "RGB"


def open_image(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open and fully decode one image file.

    Raises InputError if the bytes are not a readable image, or if it has more than `max_pixels`
    pixels. The size is read from the header, before any pixel is decoded.
    """
    what = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    try:
        opened = source if isinstance(source, Path) else io.BytesIO(source)
        image = Image.open(opened, formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise InputError(
                "image",
                f"at most {max_pixels} pixels",
                f"{image.width} x {image.height} = {image.width * image.height}",
            )
        image.load()
    except FileNotFoundError:
        raise InputError("image", "an existing file", str(source)) from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        reason = type(error).__name__ if isinstance(source, bytes) else str(error)
        raise InputError(
            "image", "a readable image file (PNG, JPEG, WebP, ...)", f"{what} ({reason})"
        ) from error
    except (ValueError, EOFError, IndexError, TypeError, ZeroDivisionError, OverflowError) as error:
        # Pillow's parsers raise these for some damaged files.
        raise InputError(
            "image", "an undamaged image file", f"{what} ({type(error).__name__})"
        ) from error
    return image


def fit(image: Image.Image, spec: ImageSpec) -> UInt8Array:
    """Convert any image to the model's size: uint8 [H, W, C].

    The image is turned upright by its EXIF tag, laid over black where it is transparent, converted
    to grey or RGB, centre-cropped to the model's aspect ratio, and resized: by area averaging to
    shrink, by Lanczos to enlarge.
    """
    image = _upright(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    elif image.mode.startswith(("I", "F")):
        image = _to_eight_bit(image)
    image = image.convert(spec.mode)
    size = (spec.width, spec.height)
    if image.size != size:
        shrinks = image.width >= spec.width and image.height >= spec.height
        image = ImageOps.fit(
            image, size, Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS
        )
    return np.asarray(image, dtype=np.uint8).reshape(spec.shape)


def _upright(image: Image.Image) -> Image.Image:
    # Pillow's exif_transpose also rewrites the whole EXIF block, which fails in many ways if it is
    # damaged. The pixels may be good even then, so only the tag is read.
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:
        return image
    return image if turn is None else image.transpose(turn)


def _to_eight_bit(image: Image.Image) -> Image.Image:
    # Pillow clips 16-bit and float pictures at 255 when it converts them, so scale them first.
    pixels = np.array(image, dtype=np.float32)
    top = 65535.0 if image.mode.startswith("I") else max(float(pixels.max(initial=1.0)), 1.0)
    pixels *= 255.0 / top
    np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8))


def to_float(images: UInt8Array, spec: ImageSpec) -> Float32Array:
    """uint8 pixels -> float32 in `spec.value_range`, of the same shape."""
    low, high = spec.value_range
    scaled: Float32Array = images.astype(np.float32) * np.float32((high - low) / 255.0)
    return scaled + np.float32(low)


def to_uint8(images: Float32Array, spec: ImageSpec) -> UInt8Array:
    """Floats in `spec.value_range` -> uint8 of the same shape, clamped, rounded half to even."""
    low, high = spec.value_range
    levels = (images - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def to_picture(image: UInt8Array) -> Image.Image:
    """One image [H, W, C] as a Pillow image."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def contact_sheet(images: UInt8Array, columns: int | None = None) -> UInt8Array:
    """Images [n, H, W, C] in a grid, row by row, as one image [rows * H, columns * W, C].

    The grid is about square by default; empty cells of the last row are black.
    """
    n, height, width, channels = images.shape
    across = min(n, columns or math.ceil(math.sqrt(n)))
    down = math.ceil(n / across)
    cells = np.zeros((down * across, height, width, channels), np.uint8)
    cells[:n] = images
    grid = cells.reshape(down, across, height, width, channels).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(down * height, across * width, channels))
