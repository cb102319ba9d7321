"""Pixel conventions: the sizes and value ranges that training and serving share.

Shapes: H height, W width, C channels (1 grey, 2 grey and alpha, 3 RGB, 4 RGBA). Callers hold uint8
pixels.
"""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name for such images."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if not (math.isfinite(bounds[1] - bounds[0]) and bounds[0] < bounds[1]):
        raise ValueError(f"expected (low, high) with low < high, both finite, found {bounds}")
    return bounds


class ImageSpec(BaseModel):
    """The images of one model.

    `value_range` is the float range of images inside the *network*; uint8 [0, 255] maps linearly
    to it. The inputs and outputs of an artifact are always uint8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[1, 2, 3, 4]
    value_range: Annotated[tuple[float, float], AfterValidator(_ordered)] = (-1.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (self.height, self.width, self.channels)

    @property
    def mode(self) -> str:
        """Pillow's name for this kind of image: "L", "LA", "RGB" or "RGBA"."""
        return MODES[self.channels]


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


def sheet_grid(count: int, columns: int | None = None) -> tuple[int, int]:
    """Rows and columns of a sheet of so many images, about square by default."""
    across = min(count, columns or math.ceil(math.sqrt(count)))
    return math.ceil(count / across), across


def contact_sheet(images: UInt8Array, columns: int | None = None) -> UInt8Array:
    """Images [n, H, W, C] in a grid, row by row, as one image [rows * H, columns * W, C].

    The grid is about square by default; empty cells of the last row are black.
    """
    n, height, width, channels = images.shape
    down, across = sheet_grid(n, columns)
    cells = np.zeros((down * across, height, width, channels), np.uint8)
    cells[:n] = images
    grid = cells.reshape(down, across, height, width, channels).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(down * height, across * width, channels))
