"""Kinds of TIFF that Pillow reads without an error and wrongly."""

from typing import Any, cast

from PIL import ImageFile

from runtime.errors import InputError

_BITS, _FILL_ORDER, _PLANES = 258, 266, 284

_NATIVE = {
    "I;16BS": "I;16NS",
    "I;16S": "I;16NS",
    "I;32BS": "I;32NS",
    "I;32S": "I;32NS",
    "F;32BF": "F;32NF",
    "F;32F": "F;32NF",
}
"""libtiff turns numbers into the machine's order of bytes; Pillow expects the file's for these."""


def mend(image: ImageFile.ImageFile) -> None:
    """Let an opened TIFF be decoded rightly, or raise InputError; nothing for other formats."""
    if image.format != "TIFF" or not image.tile:
        return
    tags = cast(Any, image).tag_v2
    compressed = image.tile[0].codec_name == "libtiff"
    if tags.get(_PLANES) == 2 and not _reads_planes(image, tags, compressed):
        expected = "a TIFF whose samples of one pixel lie together"
        raise InputError("image", expected, f"{image.mode} in planes")
    if compressed:
        rawmode, *others = cast(Any, image.tile[0].args)
        args = (_NATIVE.get(rawmode, rawmode), *others)
        image.tile = [image.tile[0]._replace(args=args)]


def _reads_planes(image: ImageFile.ImageFile, tags: Any, compressed: bool) -> bool:
    """Whether Pillow reads each plane of samples as what it is."""
    if image.mode == "LAB":
        return False
    if compressed:
        return image.mode not in ("La", "LA", "PA")
    return tags.get(_FILL_ORDER, 1) == 1 and max(tags.get(_BITS, (1,))) == 8
