"""Pictures that clients send: a multipart form, one picture, or an array of the exact size."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from pydantic import BaseModel
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bento.exchange.bodies import (
    BYTES,
    NPY,
    Body,
    query_options,
    read_array,
    unknown_media_type,
    unparseable,
)
from bento.exchange.opening import Opening
from bento.exchange.schemas import from_strings
from bento.settings import Settings
from bento.traffic.budget import Holding
from bento.traffic.calls import call_of
from runtime import ImageSpec, InputError, Manifest
from runtime.images import fit, open_image, upright_size
from runtime.requests.pictures import picture_spec

OptionsT = TypeVar("OptionsT", bound=BaseModel)

MULTIPART = "multipart/form-data"
UPLOADS = (MULTIPART, "image/*", NPY, BYTES)
"""The media types of a body with pictures."""

_MAX_FIELDS = 100
_LARGE_FORM = 256 << 10
"""Bytes of a form beyond which it is parsed in a thread."""

_TEXT_COST = 10
"""Pixels that are decoded in the time in which a byte of PNM in text is read."""

_NPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Opener:
    """Where one request's pictures are opened: in whose turn, and within which limits."""

    settings: Settings
    opening: Opening
    holding: Holding
    client: str

    async def open(self, field: str, data: bytes) -> ImageFile:
        """Read a picture's header."""
        with naming(field):
            pixels = self.settings.max_pixels
            return await self.opening.run(0, open_image, data, max_pixels=pixels)

    def check_pixels(self, field: str, pixels: int, what: str = "") -> None:
        """Refuse more pixels than one request may have."""
        limit = self.settings.max_upload_pixels
        if pixels > limit:
            expected = f"at most {limit} pixels in all pictures of a request"
            raise InputError(field, expected, f"{pixels}{what}")


@dataclass(frozen=True)
class Upload:
    """Pictures as they came: files to be opened and fitted, or one array of the exact size; and a
    mask for all of them, where one was sent: white where the network is to act, or, with
    `mask_by_alpha`, transparent there."""

    opener: Opener
    files: tuple[tuple[str, bytes], ...]
    array: NDArray[Any] | None = None
    mask: bytes | None = None
    mask_by_alpha: bool = False

    async def canvas(
        self,
        manifest: Manifest,
        graph: str,
        size: Sequence[int] | None,
        tile: int | None = None,
    ) -> "Canvas":
        """What the pictures are opened into: of the size that `graph` is given, by `size`
        ([height, width]) or by the first picture where the artifact names these axes: one that is
        made at once, without a `tile`."""
        if self.mask is not None and manifest.graphs[graph].input("mask") is None:
            raise InputError("mask", "none: this request takes no mask", "a file")
        if self.array is not None:
            found = f"an array of {list(self.array.shape)}"
            if 0 in self.array.shape:
                raise InputError("images", "at least one image, and one pixel of it", found)
            if size is not None and tuple(size) != self.array.shape[1:3]:
                raise InputError("size", "none with an array, or its own height and width", found)
            lengths = (*self.array.shape[1:3], 1, 1)
            spec = picture_spec(manifest, graph, size, (lengths[0], lengths[1]), tile)
            return self._canvas(spec, self.array, ())
        first: tuple[ImageFile, ...] = ()
        if size is None and manifest.axes:
            first = (await self.opener.open(*self.files[0]),)
        given = upright_size(first[0]) if first else (1, 1)
        spec = picture_spec(manifest, graph, size, given, tile)
        count = len(self.files) + (self.mask is not None)
        self.opener.check_pixels("files", count * spec.height * spec.width, " in the model's size")
        self.opener.holding.take(len(self.files) * prod(spec.shape))
        return self._canvas(spec, np.empty((len(self.files), *spec.shape), np.uint8), first)

    async def apart(self, manifest: Manifest, graph: str) -> "list[Upload]":
        """The files of one upload each, where they are opened in several sizes; else the upload
        itself."""
        if len(self.files) < 2:
            return [self]
        sizes: list[tuple[int, int]] = []
        for field, data in self.files:
            sizes.append(upright_size(await self.opener.open(field, data)))
            self.opener.check_pixels(field, sum(map(prod, sizes)))
        first, *others = (picture_spec(manifest, graph, None, size) for size in sizes)
        if all(spec == first for spec in others):
            return [self]
        return [replace(self, files=(file,)) for file in self.files]

    def _canvas(
        self, spec: ImageSpec, images: NDArray[Any], opened: tuple[ImageFile, ...]
    ) -> "Canvas":
        mask = None if self.mask is None else np.empty((1, spec.height, spec.width, 1), np.uint8)
        return Canvas(self, spec, images, mask, opened)


@dataclass(frozen=True)
class Canvas:
    """The images uint8 [n, H, W, C] and the mask [1, H, W, 1] of an upload. They are empty until
    `fill`: what depends on their shapes alone is checked before any picture is opened."""

    upload: Upload
    spec: ImageSpec
    images: NDArray[Any]
    mask: NDArray[Any] | None
    opened: tuple[ImageFile, ...]

    async def fill(self) -> None:
        """Open the files and write them here, cropped and resized as in training.

        One at a time: requests take turns, and one that is over opens no further picture.
        """
        opener, files = self.upload.opener, list(self.upload.files)
        places = [(self.spec, image) for image in self.images] if files else []
        by_alpha = self.upload.mask_by_alpha
        shown = self.spec.model_copy(update={"channels": 2 if by_alpha else 1})
        mask = np.empty(shown.shape, np.uint8)
        if self.upload.mask is not None:
            files.append(("mask", self.upload.mask))
            places.append((shown, mask))
        opened, costs, pixels = list(self.opened), list[int](), 0
        for i, (field, data) in enumerate(files):
            if i == len(opened):
                opened.append(await opener.open(field, data))
            pixels += opened[i].width * opened[i].height
            opener.check_pixels(field, pixels)
            costs.append(_cost(opened[i], data))
        if self.mask is not None:
            self._check_mask(opened)
        with opener.opening.admitted(opener.client, sum(costs)):
            work = zip(files, opened, costs, places, strict=True)
            for (field, _), picture, cost, (spec, image) in work:
                with naming(field):
                    image[:] = await opener.opening.run(cost, fit, picture, spec)
        if self.mask is not None:
            self.mask[0] = 255 - mask[..., 1:] if by_alpha else mask

    def _check_mask(self, opened: Sequence[ImageFile]) -> None:
        """A mask covers its pictures: it is cropped and resized as they are. Refuse another size
        than theirs, and one without transparency where that is what it tells by."""
        if self.upload.mask_by_alpha and not opened[-1].has_transparency_data:
            expected = "a picture that is transparent where it is to be changed"
            raise InputError("mask", expected, f"one without transparency ({opened[-1].mode})")
        *pictures, mask = map(upright_size, opened)
        named = zip((field for field, _ in self.upload.files), pictures, strict=True)
        given = list(named) or [("the array", (self.spec.height, self.spec.width))]
        for field, size in given:
            if mask != size:
                expected = f"height and width of {field}, {size[0]} x {size[1]}"
                raise InputError("mask", expected, f"{mask[0]} x {mask[1]}")


def _cost(picture: ImageFile, data: bytes) -> int:
    """A picture's pixels; more for PNM in text, whose numbers are read one by one in Python."""
    text = _TEXT_COST * len(data) if data[:2] in (b"P1", b"P2", b"P3") else 0
    return picture.width * picture.height + text


@contextmanager
def naming(field: str) -> Generator[None]:
    """InputErrors from inside name the request's field."""
    try:
        yield
    except InputError as error:
        raise InputError(field, error.expected, error.found) from error


async def read_upload(
    request: Request,
    body: Body,
    schema: type[OptionsT],
    settings: Settings,
    opening: Opening,
    named: Collection[str] = (),
) -> tuple[OptionsT, Upload]:
    """The pictures of a body and their options, which stand in the query string or, in a
    multipart form, in its plain fields. The files of a form have any name, or one of `named`."""
    options = query_options(request)
    call = call_of(request.scope)
    opener = Opener(settings, opening, call.holding, call.client)
    if body.kind == MULTIPART:
        call.holding.take(len(body.content))  # the parts are copies
        form = await _parsed(request, body.content, settings.max_files)
        fields, files, mask = await _read_form(form, settings.max_files, named)
        twice = sorted(fields.keys() & options.keys())
        if twice:
            raise InputError(twice[0], "one value, in the query or in the form", "both")
        checked = from_strings(schema, options | fields, settings.max_images)
        return checked, Upload(opener, files, None, mask)
    checked = from_strings(schema, options, settings.max_images)
    if body.kind == NPY or (body.kind == BYTES and body.content.startswith(_NPY_MAGIC)):
        return checked, Upload(opener, (), read_array(body))
    return checked, Upload(opener, (("body", body.content),))


class _InMemory(MultiPartParser):
    # The body is bounded and already in memory: nothing is written to the disk.
    spool_max_size = 1 << 62


async def _parsed(request: Request, content: bytes, max_files: int) -> FormData:
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
    parser = _InMemory(request.headers, stream(), max_files=max_files + 1, max_fields=_MAX_FIELDS)
    delimiters = content.count(b"\r\n--" + parameters.get(b"boundary", b""))
    if delimiters > max_files + _MAX_FIELDS + 2:
        raise unparseable(MULTIPART, f"{delimiters} parts")
    try:
        # The parser never waits: a long body is its own thread's.
        if len(content) > _LARGE_FORM:
            return await asyncio.to_thread(lambda: asyncio.run(parser.parse()))
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many_files(max_files) from None
        raise unparseable(MULTIPART, error.message) from None


async def _read_form(
    form: FormData, max_files: int, named: Collection[str]
) -> tuple[dict[str, str], tuple[tuple[str, bytes], ...], bytes | None]:
    """The plain fields of a form, its pictures and its mask."""
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
            elif isinstance(value, UploadFile) and named and name not in named:
                expected = f"files named {', '.join(named)} or mask"
                raise InputError(name[:80], expected, "a file of another name")
            elif isinstance(value, UploadFile):
                field = f"files[{len(files)}]"
                _check_part(field, value)
                files.append((field, await value.read()))
            elif name in fields:
                raise InputError(name[:80], "one value", "several")
            elif value:  # browsers send the fields that nobody filled in, too
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
