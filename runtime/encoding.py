"""Images and arrays as bytes: PNG, WebP, JPEG, NPY, NPZ, ZIP."""

import io
import math
import tokenize
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import UInt8Array, to_picture

PictureFormat = Literal["png", "webp", "jpeg"]
PICTURE_FORMATS: tuple[PictureFormat, ...] = ("png", "webp", "jpeg")

MEDIA_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
    "zip": "application/zip",
    "json": "application/json",
}

# PNG and WebP keep every pixel; level 1 is two thirds of Pillow's default time for a few percent
# more bytes. JPEG is for looking at, so it keeps the colour at full resolution.
_OPTIONS: dict[PictureFormat, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "webp": {"lossless": True, "quality": 20, "method": 0},
    "jpeg": {"quality": 92, "subsampling": 0},
}

# What NumPy's header parser, a Python parser underneath, raises for damaged headers.
_NPY_ERRORS = (
    ValueError,
    EOFError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)

# A fixed moment, so that the same images give the same archive (the earliest that ZIP can say).
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def encode_image(image: UInt8Array, picture_format: PictureFormat = "png") -> bytes:
    """One uint8 image [H, W, C] as a PNG or lossless WebP (every pixel kept) or a JPEG."""
    buffer = io.BytesIO()
    to_picture(image).save(buffer, picture_format, **_OPTIONS[picture_format])
    return buffer.getvalue()


def encode_npy(array: NDArray[Any]) -> bytes:
    """An array in NumPy's `.npy` format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays in NumPy's `.npz` format."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def decode_npy(data: bytes, field: str = "body") -> NDArray[Any]:
    """The array of an `.npy` file; InputError for anything else, objects (pickle) included.

    The array's size is held against the length of `data` first, so a small body cannot claim a
    large one.
    """
    expected = "a NumPy .npy file of plain numbers"
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise InputError(field, expected, f"format version {version}")
        if dtype.hasobject or dtype.kind not in "fiub":
            raise InputError(field, expected, f"dtype {dtype}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != len(data) - stream.tell():
            raise InputError(
                field, expected, f"{len(data) - stream.tell()} bytes for {dtype} {list(shape)}"
            )
        stream.seek(0)
        return np.load(stream, allow_pickle=False)
    except _NPY_ERRORS as error:
        raise InputError(field, expected, f"{len(data)} bytes of something else") from error


def encode_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP of named files, stored without compression (pictures are compressed already); the
    same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
    return buffer.getvalue()
