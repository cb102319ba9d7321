"""Pictures that clients send: a multipart form, one picture, or an array of the exact size."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bento.bodies import BYTES, NPY, Body, read_array, unknown_media_type, unparseable
from bento.budget import Holding
from bento.calls import call_of
from bento.opening import Opening
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


@dataclass(frozen=True)
class Upload:
    """Pictures as they came: files to be opened and fitted, or one array of the exact size; and a
    mask for all of them, where one was sent."""

    settings: Settings
    files: tuple[tuple[str, bytes], ...]
    array: NDArray[Any] | None = None
    mask: bytes | None = None

    async def canvas(
        self, manifest: Manifest, graph: str, size: Sequence[int] | None, holding: Holding
    ) -> "Canvas":
        """What the pictures are opened into: the size that `graph` is given, of `size` ([height,
        width]) or of the first picture where the artifact names these axes."""
        if self.array is not None and size is not None and tuple(size) != self.array.shape[1:3]:
            found = f"an array of {list(self.array.shape)}"
            raise InputError("size", "none with an array, or its own height and width", found)
        files = list(self.files)
        if self.mask is not None:
            if manifest.graphs[graph].input("mask") is None:
                raise InputError("mask", "none: this request takes no mask", "a file")
            files.append(("mask", self.mask))
        pictures = await asyncio.to_thread(self._read_headers, files) if files else []
        first = (*self.array.shape[1:3], 1, 1)[:2] if self.array is not None else pictures[0].size
        spec = picture_spec(manifest, graph, size, first)
        self._check_pixels("files", len(files) * spec.height * spec.width)
        images, mask = self.array, None
        if images is None:
            holding.take(len(self.files) * prod(spec.shape))
            images = np.empty((len(self.files), *spec.shape), np.uint8)
        if self.mask is not None:
            mask = np.empty((1, spec.height, spec.width, 1), np.uint8)
        return Canvas(spec, images, mask, tuple(pictures))

    def _read_headers(self, files: list[tuple[str, bytes]]) -> list["Picture"]:
        """The files' own sizes, and so whether there are too many pixels in them."""
        pictures: list[Picture] = []
        for field, data in files:
            with naming(field):
                opened = open_image(data, max_pixels=self.settings.max_pixels)
            pictures.append(Picture(field, data, upright_size(opened)))
            self._check_pixels(field, sum(picture.pixels for picture in pictures))
        return pictures

    def _check_pixels(self, field: str, pixels: int) -> None:
        limit = self.settings.max_upload_pixels
        if pixels > limit:
            expected = f"at most {limit} pixels in all pictures of a request"
            raise InputError(field, expected, f"{pixels}")


@dataclass(frozen=True)
class Picture:
    """A picture file whose header was read; `size` is its (height, width)."""

    field: str
    data: bytes
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    def open(self, spec: ImageSpec, max_pixels: int) -> UInt8Array:
        """Its pixels, cropped and resized as in training."""
        with naming(self.field):
            return fit(open_image(self.data, max_pixels=max_pixels), spec)


@dataclass(frozen=True)
class Canvas:
    """The images uint8 [n, H, W, C] and the mask [1, H, W, 1] of an upload. They are empty until
    `fill`: what depends on their shapes alone is checked before any picture is opened."""

    spec: ImageSpec
    images: NDArray[Any]
    mask: NDArray[Any] | None
    pictures: tuple[Picture, ...]

    async def fill(self, opening: Opening, client: str, max_pixels: int) -> None:
        """Open the pictures and write them here, one at a time: requests take turns, and one that
        is over opens no further picture."""
        places = [(self.spec, image) for image in self.images]
        if self.mask is not None:
            places.append((self.spec.model_copy(update={"channels": 1}), self.mask[0]))
        with opening.admitted(client, sum(picture.pixels for picture in self.pictures)):
            # Without files, the array was sent as it is.
            for picture, (spec, image) in zip(self.pictures, places, strict=False):
                image[:] = await opening.run(picture.pixels, picture.open, spec, max_pixels)


@contextmanager
def naming(field: str) -> Generator[None]:
    """InputErrors from inside name the request's field."""
    try:
        yield
    except InputError as error:
        raise InputError(field, error.expected, error.found) from error


async def read_upload(
    request: Request, body: Body, schema: type[OptionsT], settings: Settings
) -> tuple[OptionsT, Upload]:
    """The pictures of a body and their options, which stand in the query string or, in a
    multipart form, in its plain fields."""
    options = dict(request.query_params)
    if body.kind == MULTIPART:
        call_of(request.scope).holding.take(len(body.content))  # the parts are copies
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
