"""Opening one picture file: its format and size are checked, its pixels are not decoded yet.

Training, the command line and the HTTP service open pictures here, within one limit.
"""

import io
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, cast

from PIL import Image, ImageFile, UnidentifiedImageError

from runtime.defaults import MAX_PIXELS
from runtime.errors import InputError
from runtime.images import tiff
from runtime.images.guards import check_cost

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that Pillow may open: plain pictures, not EPS, which starts another program."""

TURNED = (5, 6, 7, 8)
"""The EXIF orientations of pictures that lie on their side."""


class PictureFile(io.BytesIO):
    """The bytes of a picture file, and what to call it in an error."""

    def __init__(self, data: bytes, what: str) -> None:
        super().__init__(data)
        self.what = what


def open_image(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Read the header of one picture file. `runtime.images.fit` decodes it.

    Raises InputError if the bytes are not a picture of `FORMATS`, if it has more than `max_pixels`
    pixels, or if it is made to be slow to decode (`runtime.images.guards`). A path must be a
    regular file.
    """
    if isinstance(source, Path):
        file = PictureFile(read_file(source, max_file_bytes(max_pixels)), source.name)
    else:
        file = PictureFile(source, f"{len(source)} bytes")
    with refusing(file.what), pillow_takes(max_pixels):
        check_cost(file.getvalue())
        image = Image.open(file, formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise InputError(
                "image",
                f"at most {max_pixels} pixels",
                f"{image.width} x {image.height} = {image.width * image.height}",
            )
        tiff.mend(image)
        _scale_transparency(image)
    return image


def is_named_as_picture(file: PurePath) -> bool:
    """Whether a file's suffix is that of one of `FORMATS`."""
    return Image.registered_extensions().get(file.suffix.lower()) in FORMATS


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened picture when it is turned upright."""
    # Pillow turns TIFFs itself, and gives their size when they are turned.
    on_its_side = image.format != "TIFF" and orientation(image) in TURNED
    return image.size if on_its_side else (image.height, image.width)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where it is not stated or cannot be read."""
    # Pillow's exif_transpose also rewrites the whole EXIF block, which fails in many ways if it is
    # damaged. The pixels may be good even then, so only the tag is read.
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def max_file_bytes(max_pixels: int) -> int:
    """The bytes of the largest file that a picture of so many pixels needs: RGBA of 16 bits, and
    a MiB for what is not pixels."""
    return 8 * max_pixels + (1 << 20)


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; InputError names what it is instead."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise InputError("image", "a picture file", f"{path} ({kind})")
        if found.st_size > max_bytes:
            raise InputError("image", f"at most {max_bytes} bytes", f"{path} of {found.st_size}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("image", "an existing file", str(path)) from None
    except (OSError, ValueError) as error:
        raise InputError("image", "a readable file", f"{path} ({error})") from error


@contextmanager
def refusing(what: str) -> Generator[None]:
    """Whatever Pillow raises for a damaged picture, as InputError."""
    try:
        yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError("image", "a picture of fewer pixels", f"{what} ({error})") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        expected = "a readable image file (PNG, JPEG, WebP, ...)"
        raise InputError("image", expected, f"{what} ({_reason(error)})") from error
    except Exception as error:  # Pillow's parsers raise every kind
        expected = "an undamaged image file"
        raise InputError("image", expected, f"{what} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    name, text = type(error).__name__, str(error)[:80]
    # Pillow's text for an unknown format is Python's name for our buffer.
    return f"{name}: {text}" if text and not isinstance(error, UnidentifiedImageError) else name


_lock = threading.Lock()
_lifted = 0
_bound: int | None = None


@contextmanager
def pillow_takes(pixels: int) -> Generator[None]:
    """Lift Pillow's own bound where it is lower than the caller's, which `open_image` checks."""
    global _lifted, _bound
    with _lock:  # Pillow's bound is one for all threads
        lift = _lifted > 0 or (
            Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS
        )
        if lift and _lifted == 0:
            _bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _lifted += lift
    try:
        yield
    finally:
        with _lock:
            _lifted -= lift
            if lift and _lifted == 0:
                Image.MAX_IMAGE_PIXELS = _bound


def _scale_transparency(image: ImageFile.ImageFile) -> None:
    # PNG gives the transparent shade in the file's depth, Pillow the pixels in eight bits.
    key: Any = image.info.get("transparency")
    if image.format != "PNG" or not image.tile:
        return
    depth = image.tile[0].args
    if isinstance(key, int) and depth in ("L;2", "L;4"):
        image.info["transparency"] = (key & 3) * 85 if depth == "L;2" else (key & 15) * 17
    elif isinstance(key, bytes):
        image.info["transparency"] = key[:256]
    elif isinstance(key, int) and image.mode == "L":
        image.info["transparency"] = key & 255
    elif isinstance(key, tuple):
        shift = 8 if depth == "RGB;16B" else 0
        image.info["transparency"] = tuple(
            (part >> shift) & 255 for part in cast("tuple[int, ...]", key)
        )
