"""Picture files of kinds that Pillow does not write: any TIFF, any PNG, ICC profiles."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

P3 = ((0.51512, 0.29198, 0.1571), (0.2412, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.7141))
"""Linear RGB -> XYZ of D50, rows X, Y, Z: the numbers that stand in the profiles."""


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(
    data: bytes,
    width: int,
    height: int = 1,
    *,
    bits: int | Sequence[int] = 8,
    photometric: int = 1,
    sample_format: int = 1,
    order: str = "<",
    tags: Mapping[int, tuple[int, Sequence[Any]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip. `tags` are further ones: number -> (type, values)."""
    bits = [bits] if isinstance(bits, int) else bits
    entries: dict[int, tuple[int, Sequence[Any]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [len(bits)]),
        278: (4, [height]),
        279: (4, [len(data)]),
        339: (3, [sample_format] * len(bits)),
        **(tags or {}),
    }
    letters = {1: "B", 3: "H", 4: "I", 7: "B", 9: "i", 11: "f", 12: "d"}
    body = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + data + bytes(len(data) % 2)
    table = struct.pack(order + "H", len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        if len(packed) > 4:
            packed, body = struct.pack(order + "I", len(body)), body + packed + bytes(4)
        table += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start = len(body)
    return body[:4] + struct.pack(order + "I", start) + body[8:] + table + bytes(4)


def numbers_tiff(numbers: Sequence[float], dtype: str, **options: Any) -> bytes:
    """A grey TIFF of one row of numbers of a NumPy type such as "<u2"."""
    array = np.array(numbers, dtype)
    formats = {"u": 1, "i": 2, "f": 3}
    options = {"sample_format": formats[array.dtype.kind]} | options
    order = ">" if dtype.startswith(">") else "<"
    bits = 8 * array.itemsize
    return tiff(array.tobytes(), len(numbers), bits=bits, order=order, **options)


def png(
    rows: Sequence[bytes], width: int, depth: int, colour: int, chunks: Mapping[bytes, bytes]
) -> bytes:
    """A PNG of packed rows; `chunks` stand before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *(chunk(k, v) for k, v in chunks.items())]
    return b"".join((b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _curve(gamma: float | None) -> bytes:
    """A power, or the sRGB curve."""
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    curve = _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + curve


def _profile(space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    white = _fixed(0.9642, 1.0, 0.8249)
    header = bytes(8) + struct.pack(">I", 0x04200000) + kind + space + connection
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    whole = header.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def rgb_profile(to_xyz: Sequence[Sequence[float]], gamma: float | None) -> bytes:
    """An ICC profile of RGB; its curve is a power, or that of sRGB."""
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), zip(*to_xyz, strict=True), strict=True)
    tags = {name: _xyz(*column) for name, column in columns}
    tags |= {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", b"XYZ ", tags | {b"wtpt": _xyz(0.9642, 1.0, 0.8249)})


def grey_profile(gamma: float) -> bytes:
    white = _xyz(0.9642, 1.0, 0.8249)
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma), b"wtpt": white})


def cmyk_profile() -> bytes:
    """Neutral inks: lightness falls by a quarter of 100 with each full ink, by 100 with black."""
    table = bytearray()
    for inks in np.ndindex(2, 2, 2, 2):
        light = 0.0 if inks[3] else 1 - sum(inks) / 4
        table += bytes((round(255 * light), 128, 128))
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += ramp * 4 + table + ramp * 3
    white = _xyz(0.9642, 1.0, 0.8249)
    return _profile(b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": white})


def in_srgb(
    pixels: NDArray[np.uint8], to_xyz: Sequence[Sequence[float]], gamma: float | None
) -> NDArray[np.float64]:
    """What pixels [..., 3] of a matrix profile are in sRGB, 0 to 255: the arithmetic of ICC's
    matrix profiles, colours outside sRGB clipped."""
    values = pixels / 255.0
    curved = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = values**gamma if gamma is not None else curved
    linear = np.clip(linear @ np.array(to_xyz).T @ np.linalg.inv(np.array(SRGB)).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
