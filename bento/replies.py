"""The formats of replies. An entry of `PICTURE_REPLIES` or `ARRAY_REPLIES` is all that a format
needs: negotiation, limits and the OpenAPI description read it there."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from runtime.images import UInt8Array, contact_sheet
from runtime.images.encoding import (
    MEDIA_TYPES,
    PICTURE_FORMATS,
    encode_image,
    encode_npy,
    encode_npz,
    encode_zip,
)
from runtime.requests.encode import Encoded


class Reply(Protocol):
    """A format, named in metrics."""

    @property
    def name(self) -> str: ...

    @property
    def media_type(self) -> str: ...


@dataclass(frozen=True)
class Pictures:
    """Images [n, H, W, C] of one model, and what each of them is. In a format without a sheet or an
    array they may be of several sizes.

    `origins` describes image by image what made it (seed and index of a sample, say). It is empty
    where the format does not write it.
    """

    model: str
    images: Sequence[UInt8Array] | UInt8Array
    origins: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class PictureReply:
    """A format for images: `encode(pictures, columns)` gives the body, always the same bytes for
    the same pictures.

    `max_side`: the images are put into one sheet, of at most so many pixels a side.
    `writes_origins`: it needs `Pictures.origins`. `streamed`: more images than one run of the
    engine leave while they are made.
    """

    name: str
    media_type: str
    encode: Callable[[Pictures, int | None], bytes]
    max_side: int | None = None
    writes_origins: bool = False
    streamed: bool = False


@dataclass(frozen=True)
class ArrayReply:
    """A format for a posterior or a draw from it: `encode(encoded, model)` gives the body.

    `value_bytes`: what one latent value's mean and log variance take, at most. A draw and its log
    density take no more.
    """

    name: str
    media_type: str
    encode: Callable[[Encoded, str], bytes]
    value_bytes: int


def _sheet(name: str, pictures: Pictures, columns: int | None) -> bytes:
    images = np.asarray(pictures.images)
    sheet = images[0] if len(images) == 1 else contact_sheet(images, columns)
    return encode_image(sheet, name)


def _array(pictures: Pictures, columns: int | None) -> bytes:
    return encode_npy(np.asarray(pictures.images))


def _archive(pictures: Pictures, columns: int | None) -> bytes:
    names = [f"{i:05d}.png" for i in range(len(pictures.images))]
    described = zip(names, pictures.origins, strict=True)
    index = [{"file": name, **origin} for name, origin in described]
    files = {n: encode_image(i) for n, i in zip(names, pictures.images, strict=True)}
    files["index.json"] = to_json({"model": pictures.model, "images": index})
    return encode_zip(files.items())


def _inline(pictures: Pictures, columns: int | None) -> bytes:
    entries = [
        {**origin, "png": base64.b64encode(encode_image(image)).decode("ascii")}
        for origin, image in zip(pictures.origins, pictures.images, strict=True)
    ]
    return to_json({"model": pictures.model, "images": entries})


def _first_array(encoded: Encoded, model: str) -> bytes:
    return encode_npy(next(iter(encoded.arrays().values())))


def _arrays(encoded: Encoded, model: str) -> bytes:
    return encode_npz(encoded.arrays())


def _numbers(encoded: Encoded, model: str) -> bytes:
    # Row by row: one call for all of it would hold up every other thread.
    entries = (
        b"%b:[%b]" % (to_json(name), b",".join(to_json(row.tolist()) for row in array))
        for name, array in encoded.arrays().items()
    )
    return b'{"model":%b,%b}' % (to_json(model), b",".join(entries))


def to_json(value: object) -> bytes:
    """Compact JSON; ValueError for a number that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


_PICTURE_REPLIES = (
    *(
        PictureReply(name, kind.media_type, partial(_sheet, name), max_side=kind.max_side)
        for name, kind in PICTURE_FORMATS.items()
    ),
    PictureReply("npy", MEDIA_TYPES["npy"], _array, streamed=True),
    PictureReply("zip", MEDIA_TYPES["zip"], _archive, writes_origins=True),
    PictureReply("json", MEDIA_TYPES["json"], _inline, writes_origins=True),
)
PICTURE_REPLIES: Mapping[str, PictureReply] = {reply.name: reply for reply in _PICTURE_REPLIES}

_ARRAY_REPLIES = (
    # In JSON a float takes up to 24 characters and a comma.
    ArrayReply("json", MEDIA_TYPES["json"], _numbers, value_bytes=2 * 25),
    ArrayReply("npy", MEDIA_TYPES["npy"], _first_array, value_bytes=4),
    ArrayReply("npz", MEDIA_TYPES["npz"], _arrays, value_bytes=2 * 4),
)
ARRAY_REPLIES: Mapping[str, ArrayReply] = {reply.name: reply for reply in _ARRAY_REPLIES}
