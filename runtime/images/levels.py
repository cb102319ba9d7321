"""Grey pictures of other numbers than bytes: which number is white, as the file says it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.images.pixels import Float32Array

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_STATED_MAXIMUM = (341, 281)  # SMaxSampleValue, MaxSampleValue
_SIGNED, _FLOAT = 2, 3
_PIXELS = 1 << 20
_LONGEST = 1 << 16
"""What is converted at a time: so many pixels, of rows of at most so many."""


def parts(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, int, Image.Image]]:
    """A picture in parts of bounded size: the left and upper edge of each, and its pixels. The
    edges are multiples of `multiple`."""
    columns = multiple * max(1, _LONGEST // multiple)
    rows = multiple * max(1, _PIXELS // (min(columns, image.width) * multiple))
    if columns >= image.width and rows >= image.height:
        yield 0, 0, image
        return
    for top in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            right, bottom = min(left + columns, image.width), min(top + rows, image.height)
            yield left, top, image.crop((left, top, right, bottom))


@dataclass(frozen=True)
class Levels:
    """The numbers of a deep grey picture: 0 is black and `top` is white, or the other way round.

    `view` is the type of the file's numbers where Pillow gives them in another of the same size;
    `key` is the number that means transparent.
    """

    top: float
    view: str | None = None
    inverted: bool = False
    key: int | None = None

    def grey(self, image: Image.Image) -> Image.Image:
        """The same picture in eight bits, "L", or "LA" with a transparent key."""
        numbers = _numbers(image, self.view)
        scaled = numbers.astype(np.float32) * np.float32(255.0 / self.top)
        if self.inverted:
            np.subtract(np.float32(255.0), scaled, out=scaled)
        # What is not a number is black.
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        grey = Image.fromarray(scaled.astype(np.uint8))
        if self.key is None:
            return grey
        opaque = (numbers != self.key).astype(np.uint8) * np.uint8(255)
        return Image.merge("LA", (grey, Image.fromarray(opaque)))


def levels_of(image: Image.Image) -> Levels | None:
    """The levels of a decoded picture; None where Pillow gives bytes that need no scaling."""
    deep = image.mode.startswith(("I", "F"))
    tags: Any = getattr(image, "tag_v2", {})  # only TIFF says more than its mode
    signed = _first(tags, _SAMPLE_FORMAT) == _SIGNED
    if not deep:
        return Levels(127.0, "i1") if image.mode == "L" and signed else None
    key = image.info.get("transparency")
    levels = Levels(_top(image), key=key if isinstance(key, int) else None)
    bits = _first(tags, _BITS)
    if bits is None:
        return levels
    # Pillow inverts "white is zero" itself in pictures of at most eight bits.
    levels = replace(levels, inverted=_first(tags, _PHOTOMETRIC) == 0)
    stated = next((m for tag in _STATED_MAXIMUM if (m := _first(tags, tag)) is not None), None)
    if image.mode == "F":
        return levels if stated is None or not _is_white(stated) else replace(levels, top=stated)
    top = 2 ** (bits - signed) - 1
    # TIFF's maximum may also be the brightest number of this very picture, which is no depth.
    if isinstance(stated, int) and 0 < stated < top and not stated & (stated + 1):
        top = stated
    return replace(levels, top=float(top), view="u4" if bits == 32 and not signed else None)


def _top(image: Image.Image) -> float:
    """White, where no tag tells it."""
    if image.mode.startswith("I;16"):
        return 65535.0
    brightest = 0.0
    for _, _, part in parts(image):
        numbers = _numbers(part, None)
        finite = numbers[np.isfinite(numbers)] if image.mode == "F" else numbers
        brightest = max(brightest, float(finite.max(initial=0)))
    if image.mode == "F":
        return max(brightest, 1.0)
    # PPM is scaled to 16 bits by Pillow; what was never a file may hold either.
    return 65535.0 if image.format == "PPM" or brightest <= 65535 else 2.0**31 - 1


def _is_white(stated: object) -> bool:
    return isinstance(stated, int | float) and 0 < stated < math.inf


def _first(tags: Any, tag: int) -> Any:
    value: Any = tags.get(tag)
    return cast(Any, value)[0] if isinstance(value, tuple) and value else cast(Any, value)


def _numbers(image: Image.Image, view: str | None) -> NDArray[Any] | Float32Array:
    numbers = np.asarray(image)
    return numbers if view is None else numbers.view(view)
