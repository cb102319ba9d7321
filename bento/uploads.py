"""Pictures that clients send: a multipart form, one picture, or an array of the exact size."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bento.bodies import BYTES, NPY, Body, read_array, unknown_media_type, unparseable
from bento.schemas import from_strings
from bento.settings import Settings
from runtime import ImageSpec, InputError, Manifest
from runtime.images import UInt8Array, fit, open_image, upright_size
from runtime.requests.pictures import picture_spec

OptionsT = TypeVar("OptionsT", bound=BaseModel)

MULTIPART = "multipart/form-data"
UPLOADS = (MULTIPART, "image/*", NPY, BYTES)
"""The media types of a body with pictures."""

_NPY_MAGIC = b"\x93NUMPY"

# Threads of their own, so that no other request's reply waits behind pictures; few, for a picture
# takes up to 22 bytes a pixel while it is opened: 1.5 GB for the largest (`MAX_PIXELS`).
_OPENING = ThreadPoolExecutor(2, "latentserve-opening")


@dataclass(frozen=True)
class Upload:
    """Pictures as they came: files to be opened and fitted, or one array of the exact size."""

    files: tuple[tuple[str, bytes], ...]
    array: NDArray[Any] | None = None
    mask: bytes | None = None

    async def spec(
        self, manifest: Manifest, graph: str, size: Sequence[int] | None, settings: Settings
    ) -> ImageSpec:
        """The size to which the files are brought (`runtime.requests.pictures`)."""
        if self.mask is not None and manifest.graphs[graph].spec().input("mask") is None:
            raise InputError("mask", "none: this request takes no mask", "a file")
        if self.array is not None and size is not None and tuple(size) != self.array.shape[1:3]:
            found = f"an array of {list(self.array.shape)}"
            raise InputError("size", "none with an array, or its own height and width", found)
        picture = (1, 1)
        if self.array is None and size is None and manifest.axes:
            field, data = self.files[0]
            loop = asyncio.get_running_loop()
            try:
                first = await loop.run_in_executor(_OPENING, _size, data, settings.max_pixels)
            except InputError as error:
                raise InputError(field, error.expected, error.found) from error
            picture = first
        return picture_spec(manifest, graph, size, picture)

    async def open_mask(self, spec: ImageSpec, settings: Settings) -> NDArray[Any] | None:
        """The mask [1, H, W, 1] of all pictures, where one was sent."""
        if self.mask is None:
            return None
        grey = spec.model_copy(update={"channels": 1})
        loop = asyncio.get_running_loop()
        try:
            mask, _ = await loop.run_in_executor(
                _OPENING, _open, self.mask, grey, settings.max_pixels
            )
        except InputError as error:
            raise InputError("mask", error.expected, error.found) from error
        return mask[None]

    def room(self, spec: ImageSpec, settings: Settings) -> NDArray[Any]:
        """The array as it came, or an empty one [n, H, W, C] that `fill` fills: what depends on
        its shape alone can be checked before any picture is opened."""
        if self.array is not None:
            return self.array
        pixels = len(self.files) * spec.height * spec.width
        if pixels > settings.max_upload_pixels:
            raise _too_many_pixels("files", settings, f"{pixels} in the model's size")
        return np.empty((len(self.files), *spec.shape), np.uint8)

    async def fill(self, images: NDArray[Any], spec: ImageSpec, settings: Settings) -> None:
        """Open the files and write them into `images`, cropped and resized as in training."""
        loop = asyncio.get_running_loop()
        left = settings.max_upload_pixels
        # One at a time: requests take turns, and one that is over opens no further picture.
        for i, (field, data) in enumerate(self.files):
            try:
                images[i], pixels = await loop.run_in_executor(
                    _OPENING, _open, data, spec, settings.max_pixels
                )
            except InputError as error:
                raise InputError(field, error.expected, error.found) from error
            left -= pixels
            if left < 0:
                raise _too_many_pixels(field, settings, "more")


def _open(data: bytes, spec: ImageSpec, max_pixels: int) -> tuple[UInt8Array, int]:
    """One picture in the model's size, and its pixels before."""
    picture = open_image(data, max_pixels=max_pixels)
    return fit(picture, spec), picture.width * picture.height


def _size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """A picture's height and width when it is upright."""
    return upright_size(open_image(data, max_pixels=max_pixels))


def _too_many_pixels(field: str, settings: Settings, found: str) -> InputError:
    expected = f"at most {settings.max_upload_pixels} pixels in all pictures of a request"
    return InputError(field, expected, found)


async def read_upload(
    request: Request, body: Body, schema: type[OptionsT], settings: Settings
) -> tuple[OptionsT, Upload]:
    """The pictures of a body and their options, which stand in the query string or, in a
    multipart form, in its plain fields."""
    options = dict(request.query_params)
    if body.kind == MULTIPART:
        fields, files, mask = await _read_form(request, body.content, settings.max_files)
        twice = sorted(fields.keys() & options.keys())
        if twice:
            raise InputError(twice[0], "one value, in the query or in the form", "both")
        return from_strings(schema, options | fields, settings.max_images), Upload(
            files, None, mask
        )
    checked = from_strings(schema, options, settings.max_images)
    if body.kind == NPY or (body.kind == BYTES and body.content.startswith(_NPY_MAGIC)):
        return checked, Upload((), read_array(body))
    return checked, Upload((("body", body.content),))


class _InMemory(MultiPartParser):
    # The body is bounded and already in memory: nothing is written to the disk.
    spool_max_size = 1 << 62


async def _read_form(
    request: Request, content: bytes, max_files: int
) -> tuple[dict[str, str], tuple[tuple[str, bytes], ...], bytes | None]:
    _, parameters = parse_options_header(request.headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        # The parser would take any codec of Python's for one, some of which only raise.
        raise unknown_media_type(f"charset={charset}", (f"{MULTIPART} in UTF-8",))
    if b"--" + parameters.get(b"boundary", b"") + b"--" not in content:
        raise unparseable(MULTIPART, "no closing boundary")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    # One more than allowed, so that too many are told from a form that cannot be parsed.
    parser = _InMemory(request.headers, stream(), max_files=max_files + 1, max_fields=100)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many_files(max_files) from None
        raise unparseable(MULTIPART, error.message) from None
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    mask: bytes | None = None
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) and name == "mask":
                if mask is not None:
                    raise InputError("mask", "one file", "several")
                _check_part("mask", value)
                mask = await value.read()
            elif isinstance(value, UploadFile):
                field = f"files[{len(files)}]"
                _check_part(field, value)
                files.append((field, await value.read()))
            elif name in fields:
                raise InputError(name[:80], "one value", "several")
            else:
                fields[name] = value
    finally:
        await form.close()
    if len(files) > max_files:
        raise _too_many_files(max_files)
    if not files:
        raise InputError("files", "at least one picture file", "none")
    return fields, tuple(files), mask


def _check_part(field: str, part: UploadFile) -> None:
    kind = (part.content_type or "").partition(";")[0].strip().lower()
    if kind not in ("", BYTES) and not kind.startswith("image/"):
        raise unknown_media_type(kind, ("image/*", BYTES), field)


def _too_many_files(limit: int) -> InputError:
    return InputError("files", f"at most {limit} files", "more")
