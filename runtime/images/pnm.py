"""Binary PNM files whose white is not 255: Pillow would scale their numbers one by one in Python,
three seconds for each megapixel."""

from typing import Any, cast

import numpy as np
from PIL import Image, ImageFile

_AT_ONCE = 1 << 20


def is_slow(image: Image.Image) -> bool:
    """Whether Pillow would decode an opened picture so."""
    tile = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.format == "PPM" and bool(tile) and tile[0].codec_name == "ppm"


def scaled(image: Image.Image, data: bytes) -> bytes:
    """The same picture as a PNM file that Pillow decodes as it is: of 16 bits where it is grey and
    has more than 8, else of 8 bits. Only for a picture that `is_slow`."""
    (tile,) = cast(ImageFile.ImageFile, image).tile
    offset = tile.offset
    white: int = cast(Any, tile.args)[-1]
    top = 65535 if image.mode == "I" else 255
    levels = np.arange(256 if white < 256 else 65536)
    table = np.minimum(np.rint(levels * (top / white)), top).astype(">u2" if top > 255 else "u1")
    kind = np.dtype(">u2" if white > 255 else "u1")
    count = image.width * image.height * len(image.getbands())
    count = min(count, (len(data) - offset) // kind.itemsize)  # Pillow tells what is missing
    numbers = np.frombuffer(data, kind, count, offset)
    parts = [b"%s %d %d %d\n" % (data[:8].split()[0], image.width, image.height, top)]
    for start in range(0, len(numbers), _AT_ONCE):
        parts.append(table[numbers[start : start + _AT_ONCE]].tobytes())
    return b"".join(parts)
