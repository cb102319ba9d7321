"""Images and arrays as bytes: PNG, WebP, JPEG, NPY, NPZ, ZIP."""

import io
import math
import tokenize
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.errors import InputError
from runtime.images import UInt8Array, to_picture
from runtime.images.png import encode_png


@dataclass(frozen=True)
class PictureFormat:
    """A format of single pictures: its media type, the suffixes of its files, the pixels that it
    allows along one side, and Pillow's options; without these it is written here. `opaque`: it has
    no transparency, so that pictures are laid over black."""

    media_type: str
    suffixes: tuple[str, ...]
    max_side: int
    options: Mapping[str, Any] | None = None
    opaque: bool = False


# WebP is lossless here, as PNG is. JPEG is lossy, but keeps the full resolution of colour.
PICTURE_FORMATS: Mapping[str, PictureFormat] = {
    "png": PictureFormat("image/png", (".png",), 2**31 - 1),
    "webp": PictureFormat(
        "image/webp", (".webp",), 16383, {"lossless": True, "quality": 20, "method": 0}
    ),
    "jpeg": PictureFormat(
        "image/jpeg", (".jpg", ".jpeg"), 65500, {"quality": 92, "subsampling": 0}, opaque=True
    ),
}
"""All that a picture format needs: the command line and the service read it here."""

MEDIA_TYPES: Mapping[str, str] = {
    **{name: kind.media_type for name, kind in PICTURE_FORMATS.items()},
    "npy": "application/x-npy",
    "npz": "application/x-npz",
    "zip": "application/zip",
    "json": "application/json",
    "glb": "model/gltf-binary",
}

# NumPy parses a header as Python source. These errors come from damaged headers.
NPY_ERRORS = (
    ValueError,
    EOFError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)

# Format version -> number of bytes that hold the header's length.
_NPY_LENGTH = {b"\x01\x00": 2, b"\x02\x00": 4}

# A fixed time, so that the same images give the same archive: the earliest that ZIP can store.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def encode_image(image: UInt8Array, picture_format: str = "png") -> bytes:
    """One uint8 image [H, W, C] in one of `PICTURE_FORMATS`."""
    kind = PICTURE_FORMATS[picture_format]
    if kind.options is None:
        return encode_png(image)
    picture = to_picture(image)
    if kind.opaque:
        picture = over_black(picture)
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, **kind.options)
    return buffer.getvalue()


def over_black(picture: Image.Image) -> Image.Image:
    """A picture of mode LA or RGBA laid over black, as L or RGB; any other as it is."""
    if picture.mode not in ("LA", "RGBA"):
        return picture
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    laid = Image.alpha_composite(black, picture.convert("RGBA"))
    return laid.convert("L" if picture.mode == "LA" else "RGB")


def encode_npy(array: NDArray[Any]) -> bytes:
    """An array in NumPy's `.npy` format."""
    contiguous = np.ascontiguousarray(array)
    return b"".join((npy_header(array.shape, array.dtype), contiguous.data))


@lru_cache(maxsize=64)
def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of a C-ordered array in an `.npy` file, which comes before its values."""
    stream = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays in NumPy's `.npz` format."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def decode_npy(data: bytes, field: str = "body") -> NDArray[Any]:
    """The array of an `.npy` file; InputError for anything else, including arrays of objects
    (pickle).

    The size in the header is compared with the length of `data` first, so a small body cannot
    allocate a large array. The array is read-only and shares the memory of `data`.
    """
    expected = "a NumPy .npy file of plain numbers"
    start = npy_start(data)
    try:
        shape, fortran_order, dtype = read_npy_header(data[:start])
        if dtype.hasobject or dtype.kind not in "fiub":
            raise InputError(field, expected, f"dtype {dtype}")
        found = len(data) - start
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != found:
            raise InputError(field, expected, f"{found} bytes for {dtype} {list(shape)}")
        array = np.frombuffer(data, dtype, offset=start) if found else np.empty(0, dtype)
        return array.reshape(shape, order="F" if fortran_order else "C")
    except NPY_ERRORS as error:
        raise InputError(field, expected, f"{len(data)} bytes of something else") from error


def npy_start(data: bytes) -> int:
    """Where the values of an `.npy` file begin, by its first 12 bytes."""
    # The file: magic string, version, length of the header, header, values.
    length = _NPY_LENGTH.get(data[6:8], 0)
    return 8 + length + int.from_bytes(data[8 : 8 + length], "little")


@lru_cache(maxsize=64)  # parsing Python source is slow, and clients repeat their headers
def read_npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(head)
    if np.lib.format.read_magic(stream) == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def encode_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP of named files, without compression because pictures are already compressed. The same
    files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data)
    return buffer.getvalue()
