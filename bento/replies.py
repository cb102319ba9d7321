"""What is sent back: choosing the format, and turning images and posteriors into bytes."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bento.errors import RequestError
from runtime import InputError, Model
from runtime.batching.jobs import Job
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

PICTURE_REPLIES = ("png", "webp", "jpeg", "npy", "zip", "json")
ARRAY_REPLIES = ("json", "npy", "npz")

# What the picture formats themselves allow along one side.
_MAX_SIDE = {"png": 2**31 - 1, "webp": 16383, "jpeg": 65500}
# Of one value's mean and log variance, at most (a latent's draw and density take no more): a float
# in JSON takes up to 24 characters.
_POSTERIOR_BYTES = {"npy": 4, "npz": 8, "json": 2 * 25}


def choose_format(explicit: str | None, accept: str | None, offered: Sequence[str]) -> str:
    """The explicit format, else the first that `Accept` likes best, else the first offered.

    406 where `Accept` has no place for any of them (RFC 9110, section 12.5.1).
    """
    if explicit is not None:
        return explicit
    if not accept or accept.strip() == "*/*":
        return offered[0]
    ranges = [_accept_range(part) for part in accept.split(",")]
    best, best_quality = None, 0.0
    for name in offered:
        quality = _quality(MEDIA_TYPES[name], ranges)
        if quality > best_quality:
            best, best_quality = name, quality
    if best is None:
        raise RequestError(
            406,
            "no format of this endpoint is accepted",
            field="accept",
            expected="one of " + ", ".join(MEDIA_TYPES[name] for name in offered),
            found=accept[:80],
        )
    return best


def _accept_range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name.strip().lower(), quality


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that matches."""
    family = media_type.partition("/")[0]
    for wanted in (media_type, f"{family}/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0


@dataclass(frozen=True)
class Pictures:
    """Images [n, H, W, C] of one model, and what each of them is.

    `origins` describes image by image what made it (seed and index of a sample, say); it is given
    only where the format tells it: `zip` and `json`.
    """

    model: str
    images: UInt8Array
    origins: Sequence[Mapping[str, Any]] | None = None


def is_streamed(picture_format: str, model: Model, job: Job[Any]) -> bool:
    """Whether images leave as they are made: arrays of more images than one engine run gives."""
    return picture_format == "npy" and job.count > model.run_rows(job)


def needs_origins(picture_format: str) -> bool:
    """Whether `Pictures.origins` is used."""
    return picture_format in ("zip", "json")


def encode_pictures(pictures: Pictures, picture_format: str, columns: int | None) -> bytes:
    """The reply's body. The same pictures give the same bytes."""
    images = pictures.images
    if picture_format == "npy":
        return encode_npy(images)
    if picture_format in PICTURE_FORMATS:
        sheet = images[0] if len(images) == 1 else contact_sheet(images, columns)
        return encode_image(sheet, picture_format)
    origins = pictures.origins or [{"index": i} for i in range(len(images))]
    encoded = [encode_image(image, "png") for image in images]
    if picture_format == "json":
        entries = [
            {**origin, "png": base64.b64encode(png).decode("ascii")}
            for origin, png in zip(origins, encoded, strict=True)
        ]
        return _json({"model": pictures.model, "images": entries})
    names = [f"{i:05d}.png" for i in range(len(images))]
    index = [{"file": name, **origin} for name, origin in zip(names, origins, strict=True)]
    files = dict(zip(names, encoded, strict=True))
    files["index.json"] = _json({"model": pictures.model, "images": index})
    return encode_zip(files.items())


def check_pictures(
    picture_format: str,
    columns: int | None,
    count: int,
    image: tuple[int, int, int],
    max_bytes: int,
    field: str,
) -> None:
    """Refuse images [count, *image] that a reply cannot or may not hold, before they are made.

    `field` is the request's entry that says how many there are.
    """
    height, width, channels = image
    cells = count
    if picture_format in PICTURE_FORMATS:
        across = min(count, columns or math.ceil(math.sqrt(count)))
        down = math.ceil(count / across)
        cells = down * across
        side = _MAX_SIDE[picture_format]
        if max(down * height, across * width) > side:
            expected = f"{picture_format} of at most {side} pixels a side"
            found = f"a sheet of {across * width} x {down * height}"
            raise InputError("format", expected, found)
    _check_bytes(field, cells * height * width * channels, max_bytes)


def check_posterior(array_format: str, values: int, max_bytes: int) -> None:
    """Refuse a posterior of so many values (a mean and a log variance each), as for pictures."""
    _check_bytes("images", posterior_bytes(array_format, values), max_bytes)


def posterior_bytes(array_format: str, values: int) -> int:
    """Bytes that so many values take in a reply, at most."""
    return values * _POSTERIOR_BYTES[array_format]


def _check_bytes(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(field, f"at most {limit} bytes in a reply, uncompressed", str(size))


def encode_posterior(encoded: Encoded, model: str, array_format: str) -> bytes:
    """A posterior or a draw from it: `json`, `npy` (the means, or the latents) or `npz`."""
    arrays = encoded.arrays()
    if array_format == "npy":
        return encode_npy(next(iter(arrays.values())))
    if array_format == "npz":
        return encode_npz(arrays)
    # Row by row: one call for all of it would hold up every other thread.
    entries = (
        b"%b:[%b]" % (_json(name), b",".join(_json(row.tolist()) for row in array))
        for name, array in arrays.items()
    )
    return b'{"model":%b,%b}' % (_json(model), b",".join(entries))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def image_shape(model: Model, job: Job[Any]) -> tuple[int, int, int]:
    """(H, W, C) of the images that a job gives."""
    graphs = model.manifest.graphs
    made = graphs[job.graph].output("images")
    if made is None:  # what it encodes is decoded again
        made = graphs["decode"].output("images")
    height, width, channels = (0, 0, 0) if made is None else made.at(job.size)
    return height, width, channels


def with_labels(origins: list[dict[str, Any]], model: Model, labels: Any) -> list[dict[str, Any]]:
    """Each origin with the name of its class, where the model has classes."""
    names = model.manifest.labels
    if labels is None or names is None:
        return origins
    return [{**o, "label": names[i]} for o, i in zip(origins, labels.tolist(), strict=True)]
