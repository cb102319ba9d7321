"""The formats of replies. An entry of `PICTURE_REPLIES` or `ARRAY_REPLIES` is all that a format
needs: negotiation, limits and the OpenAPI description read it there."""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from runtime.errors import InputError
from runtime.images import UInt8Array
from runtime.images.animation import ANIMATIONS, encode_animation
from runtime.images.encoding import (
    MEDIA_TYPES,
    PICTURE_FORMATS,
    encode_image,
    encode_npy,
    encode_npz,
    encode_zip,
)
from runtime.images.layout import Layout, enlarged
from runtime.images.meshes import check_volume, encode_glb, mesh_bytes
from runtime.images.pixels import sheet_grid
from runtime.images.volumes import as_picture, picture_shape
from runtime.requests.encode import Encoded


class Reply(Protocol):
    """A format, named in metrics."""

    @property
    def name(self) -> str: ...

    @property
    def media_type(self) -> str: ...


@dataclass(frozen=True)
class Pictures:
    """Images [n, H, W, C] of one model, or volumes [n, D, H, W, 1], and what each of them is. In a
    format without a sheet or an array they may be of several sizes.

    `origins` describes image by image what made it (seed and index of a sample, say). It is empty
    where the format does not write it.
    """

    model: str
    images: Sequence[UInt8Array] | UInt8Array
    origins: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class PictureReply:
    """A format for images: `encode(pictures, layout)` gives the body, always the same bytes for
    the same pictures.

    `shows`: all images as one sheet, one after another as the frames of an animation, each by
    itself with its entry of `Pictures.origins`, or their pixels as an array; then more images than
    one run of the engine leave while they are made; or volumes as `meshes`. Volumes are shown by
    their pictures everywhere else. `max_side`: the pixels that a sheet or a frame may have a side.
    """

    name: str
    media_type: str
    encode: Callable[[Pictures, Layout], bytes]
    shows: Literal["sheet", "frames", "images", "array", "meshes"]
    max_side: int | None = None

    def check(self, layout: Layout, count: int, shape: tuple[int, ...]) -> int:
        """The bytes that so many images [H, W, C], or volumes [D, H, W, 1], take while the reply is
        made; InputError where they do not fit into it."""
        if self.shows in ("array", "meshes") and layout.scale > 1:
            expected = f"1 with {self.name}, which holds the network's own pixels"
            raise InputError("scale", expected, str(layout.scale))
        made = count * math.prod(shape)
        if self.shows == "meshes":
            check_volume(shape)
            return count * mesh_bytes(shape)
        if self.shows == "array":
            return made
        height, width, channels = picture_shape(shape)
        down, across, cells = 1, 1, count
        if self.shows == "sheet":
            down, across = sheet_grid(count, layout.columns)
            cells = down * across
        elif self.shows == "frames":
            cells, channels = len(layout.frames(count)), 4  # as Pillow holds them
        sides = layout.scale * down * height, layout.scale * across * width
        if self.max_side is not None and max(sides) > self.max_side:
            expected = f"{self.name} of at most {self.max_side} pixels a side"
            what = "an image" if self.shows == "frames" or count == 1 else "a sheet"
            raise InputError("format", expected, f"{what} of {sides[1]} x {sides[0]}")
        return max(made, layout.scale**2 * cells * height * width * channels)


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


@dataclass(frozen=True)
class PlainReply:
    """A format that its endpoint writes itself."""

    name: str
    media_type: str


JSON_REPLY: Mapping[str, Reply] = {"json": PlainReply("json", MEDIA_TYPES["json"])}


def _sheet(name: str, pictures: Pictures, layout: Layout) -> bytes:
    return encode_image(layout.sheet(np.asarray(pictures.images)), name)


def _animation(name: str, pictures: Pictures, layout: Layout) -> bytes:
    return encode_animation(pictures.images, name, layout)


def _array(pictures: Pictures, layout: Layout) -> bytes:
    return encode_npy(np.asarray(pictures.images))


def _each(pictures: Pictures, layout: Layout) -> Iterator[bytes]:
    scale = layout.scale
    return (encode_image(enlarged(as_picture(image), scale)) for image in pictures.images)


def _meshes(pictures: Pictures, layout: Layout) -> bytes:
    return encode_glb(np.asarray(pictures.images))


def _archive(pictures: Pictures, layout: Layout) -> bytes:
    names = [f"{i:05d}.png" for i in range(len(pictures.images))]
    described = zip(names, pictures.origins, strict=True)
    index = [{"file": name, **origin} for name, origin in described]
    files = dict(zip(names, _each(pictures, layout), strict=True))
    files["index.json"] = to_json({"model": pictures.model, "images": index})
    return encode_zip(files.items())


def _inline(pictures: Pictures, layout: Layout) -> bytes:
    entries = [
        {**origin, "png": base64.b64encode(png).decode("ascii")}
        for origin, png in zip(pictures.origins, _each(pictures, layout), strict=True)
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
        PictureReply(name, kind.media_type, partial(_sheet, name), "sheet", kind.max_side)
        for name, kind in PICTURE_FORMATS.items()
    ),
    PictureReply("npy", MEDIA_TYPES["npy"], _array, "array"),
    PictureReply("zip", MEDIA_TYPES["zip"], _archive, "images"),
    PictureReply("json", MEDIA_TYPES["json"], _inline, "images"),
    # After the others: `image/webp` in an Accept header means a picture.
    *(
        PictureReply(name, kind.media_type, partial(_animation, name), "frames", kind.max_side)
        for name, kind in ANIMATIONS.items()
    ),
    PictureReply("glb", MEDIA_TYPES["glb"], _meshes, "meshes"),
)
PICTURE_REPLIES: Mapping[str, PictureReply] = {reply.name: reply for reply in _PICTURE_REPLIES}

_ARRAY_REPLIES = (
    # In JSON a float takes up to 24 characters and a comma.
    ArrayReply("json", MEDIA_TYPES["json"], _numbers, value_bytes=2 * 25),
    ArrayReply("npy", MEDIA_TYPES["npy"], _first_array, value_bytes=4),
    ArrayReply("npz", MEDIA_TYPES["npz"], _arrays, value_bytes=2 * 4),
)
ARRAY_REPLIES: Mapping[str, ArrayReply] = {reply.name: reply for reply in _ARRAY_REPLIES}
