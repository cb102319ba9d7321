"""What a file's first bytes tell before Pillow parses it: whether it is a picture, and whether
reading it would take far more time or memory than its pixels do."""

import re
import struct

from runtime.errors import InputError

HEAD_BYTES = 18
"""So many of a file's first bytes `is_picture` looks at."""

_MAGIC = re.compile(
    rb"\x89PNG\r\n\x1a\n"
    rb"|\xff\xd8\xff"
    rb"|RIFF.{4}WEBP"
    rb"|GIF8[79]a"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00"
    rb"|II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"
    rb"|P(?:[1-6f]|0CMYK)\s",
    re.DOTALL,
)

MAX_SCANS = 64
"""Passes over the pixels of one JPEG. Encoders make about ten, and each costs time: up to 150 ms
for 64 megapixels."""

MAX_PIECES = 1 << 16
"""Segments of one JPEG, chunks of a PNG, blocks before the pixels of a GIF, which Pillow goes
through in Python; and bytes before the pixels of a PNM file."""

MAX_TIFF_VALUES = 1 << 17
"""Numbers of one TIFF tag. Pillow makes a Python object for each strip and tile."""

MAX_PNM_TEXT = 4 << 20
"""Bytes of a PNM file whose numbers Pillow reads one by one in Python, half a second each MiB."""

# A marker that is neither a stuffed byte, nor a restart, nor a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

_TIFF_BYTES = (1, 2, 6, 7)
"""TIFF's types of single bytes, which stay one object however many there are."""


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is of a format that is read here."""
    return _MAGIC.match(head) is not None


def check_cost(data: bytes) -> None:
    """Raise InputError for a picture file that is made to be slow."""
    if data.startswith(b"\xff\xd8"):
        _check_segments(data)
    elif data.startswith(b"\x89PNG"):
        _check_chunks(data)
    elif data.startswith(b"GIF"):
        _check_blocks(data)
    elif data.startswith((b"II", b"MM")):
        _check_tags(data)
    elif data.startswith(b"P"):
        _check_pnm(data)


def _check_segments(data: bytes) -> None:
    at, scans, segments = 2, 0, 0
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE:
            return
        segments += 1
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise InputError("image", f"a JPEG of at most {MAX_SCANS} scans", "more")
        _check_pieces("JPEG", "segments", segments)
        at += int.from_bytes(data[at : at + 2], "big")


def _check_chunks(data: bytes) -> None:
    at, chunks = 8, 0
    while at < len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        chunks += 1
        _check_pieces("PNG", "chunks", chunks)


def _check_blocks(data: bytes) -> None:
    has_palette, size = data[10:11] >= b"\x80", data[10] & 7 if len(data) > 10 else 0
    at, blocks = 13 + (3 << (size + 1) if has_palette else 0), 0
    while data[at : at + 1] == b"!":  # an extension: its kind, then blocks up to an empty one
        at += 2
        while length := int.from_bytes(data[at : at + 1], "big"):
            at += 1 + length
            blocks += 1
            _check_pieces("GIF", "blocks before its pixels", blocks)
        at += 1
        blocks += 1
        _check_pieces("GIF", "blocks before its pixels", blocks)


def _check_pnm(data: bytes) -> None:
    # Magic, width, height and, but for P1 and P4, white.
    words = 3 if data[1:2] in b"14" else 4
    head = re.sub(rb"#[^\r\n]*", b"", data[:MAX_PIECES]).split(maxsplit=words)
    if len(data) > MAX_PIECES and len(head) < words:
        raise InputError("image", f"at most {MAX_PIECES} bytes before the pixels", "more")
    if re.match(rb"P[123]\s", data) and len(data) > MAX_PNM_TEXT:
        expected = f"at most {MAX_PNM_TEXT} bytes of a PNM file in text (write it in binary)"
        raise InputError("image", expected, f"{len(data)}")


def _check_pieces(kind: str, pieces: str, found: int) -> None:
    if found > MAX_PIECES:
        raise InputError("image", f"a {kind} of at most {MAX_PIECES} {pieces}", "more")


def _check_tags(data: bytes) -> None:
    order = "<" if data[:2] == b"II" else ">"
    try:
        if struct.unpack_from(order + "H", data, 2)[0] == 43:  # BigTIFF
            (start,) = struct.unpack_from(order + "Q", data, 8)
            (tags,) = struct.unpack_from(order + "Q", data, start)
            start, entry, count = start + 8, 20, "HHQ"
        else:
            (start,) = struct.unpack_from(order + "I", data, 4)
            (tags,) = struct.unpack_from(order + "H", data, start)
            start, entry, count = start + 2, 12, "HHI"
        for at in range(start, min(start + tags * entry, len(data)), entry):
            tag, kind, values = struct.unpack_from(order + count, data, at)
            if values > MAX_TIFF_VALUES and kind not in _TIFF_BYTES:
                expected = f"a TIFF of at most {MAX_TIFF_VALUES} values in a tag"
                raise InputError("image", expected, f"{values} in tag {tag}")
    except struct.error:
        return  # cut short, which Pillow tells
