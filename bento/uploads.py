"""Pictures that clients send: a multipart form, one picture, or an array of the exact size."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

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
from runtime.images import UInt8Array, fit, open_image
from runtime.requests.pictures import picture_spec

P = ParamSpec("P")
T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound=BaseModel)

MULTIPART = "multipart/form-data"
UPLOADS = (MULTIPART, "image/*", NPY, BYTES)
"""The media types of a body with pictures."""

_NPY_MAGIC = b"\x93NUMPY"

# Threads of their own, so that no other request's reply waits behind pictures; few, for a large
# picture takes some hundred megabytes while it is opened.
_OPENING = ThreadPoolExecutor(2, "latentserve-opening")


@dataclass(frozen=True)
class Upload:
    """Pictures as they came: files to be opened and fitted, or one array of the exact size; and a
    mask for all of them, where one was sent."""

    settings: Settings
    files: tuple[tuple[str, bytes], ...]
    array: NDArray[Any] | None = None
    mask: bytes | None = None

    async def canvas(self, manifest: Manifest, graph: str, size: Sequence[int] | None) -> "Canvas":
        """What the pictures are opened into: the size that `graph` is given, of `size` ([height,
        width]) or of the first picture where the artifact names these axes."""
        if self.array is not None and size is not None and tuple(size) != self.array.shape[1:3]:
            found = f"an array of {list(self.array.shape)}"
            raise InputError("size", "none with an array, or its own height and width", found)
        if self.array is not None:
            height, width = (*self.array.shape[1:3], 1, 1)[:2]
        elif size is None and manifest.axes:
            field, data = self.files[0]
            height, width = await _in_turn(field, picture_size, data, self.settings.max_pixels)
        else:
            height, width = 1, 1  # the size does not depend on it
        spec = picture_spec(manifest, graph, size, (height, width))
        takes_mask = manifest.graphs[graph].input("mask") is not None
        if self.mask is not None and not takes_mask:
            raise InputError("mask", "none: this request takes no mask", "a file")
        masks = 0 if self.mask is None else 1
        pixels = (len(self.files) + masks) * spec.height * spec.width
        if pixels > self.settings.max_upload_pixels:
            raise _too_many_pixels("files", self.settings, f"{pixels} in the model's size")
        images = self.array
        if images is None:
            images = np.empty((len(self.files), *spec.shape), np.uint8)
        mask = np.empty((1, spec.height, spec.width, 1), np.uint8) if masks else None
        return Canvas(self, spec, images, mask)


@dataclass(frozen=True)
class Canvas:
    """The images uint8 [n, H, W, C] and the mask [1, H, W, 1] of an upload. They are empty until
    `fill`: what depends on their shapes alone is checked before any picture is opened."""

    upload: Upload
    spec: ImageSpec
    images: NDArray[Any]
    mask: NDArray[Any] | None

    async def fill(self) -> None:
        """Open the files and write them here, cropped and resized as in training."""
        settings, left = self.upload.settings, self.upload.settings.max_upload_pixels
        grey = self.spec.model_copy(update={"channels": 1})
        work = [
            (field, data, self.spec, self.images[i])
            for i, (field, data) in enumerate(self.upload.files)
        ]
        if self.mask is not None and self.upload.mask is not None:
            work.append(("mask", self.upload.mask, grey, self.mask[0]))
        # One at a time: requests take turns, and one that is over opens no further picture.
        for field, data, spec, image in work:
            image[:], pixels = await _in_turn(field, _open, data, spec, settings.max_pixels)
            left -= pixels
            if left < 0:
                raise _too_many_pixels(field, settings, "more")


async def _in_turn(field: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call(...)` in one of the threads that open pictures; its InputError names the field."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(_OPENING, partial(call, *args, **kwargs))
    except InputError as error:
        raise InputError(field, error.expected, error.found) from error


def _open(data: bytes, spec: ImageSpec, max_pixels: int) -> tuple[UInt8Array, int]:
    """One picture in the model's size, and its pixels before."""
    picture = open_image(data, max_pixels=max_pixels)
    return fit(picture, spec), picture.width * picture.height


def picture_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """A picture's height and width."""
    picture = open_image(data, max_pixels=max_pixels)
    return picture.height, picture.width


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
        checked = from_strings(schema, options | fields, settings.max_images)
        return checked, Upload(settings, files, None, mask)
    checked = from_strings(schema, options, settings.max_images)
    if body.kind == NPY or (body.kind == BYTES and body.content.startswith(_NPY_MAGIC)):
        return checked, Upload(settings, (), read_array(body))
    return checked, Upload(settings, (("body", body.content),))


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
