"""Reading request bodies: bounded while they arrive, by media type, never a pickle."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic_core import from_json as parse_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bento.errors import RequestError
from bento.schemas import from_json, from_strings
from bento.settings import Settings
from runtime import ImageSpec, InputError
from runtime.encoding import decode_npy
from runtime.images import UInt8Array, fit, open_image

P = ParamSpec("P")
T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound=BaseModel)

JSON = "application/json"
NPY = "application/x-npy"
BYTES = "application/octet-stream"
MULTIPART = "multipart/form-data"

_NPY_MAGIC = b"\x93NUMPY"
# Below this, work costs less than handing it to a thread.
_SMALL_BYTES = 16 << 10


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes, whatever its Content-Length says; else 413."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise _too_large(limit, f"{stated} bytes")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, "more")
        chunks.append(chunk)
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """The body's media type in lower case, without parameters; empty where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_options(
    request: Request, schema: type[OptionsT], limit: int, *, also: tuple[str, ...] = ()
) -> OptionsT:
    """Options from a JSON body, or from the query string where there is no body.

    `also` only names further media types that the endpoint reads, for the error.
    """
    kind = media_type(request)
    if kind not in (JSON, "") and not kind.endswith("+json"):
        raise _unknown_media_type(kind, (JSON, *also))
    body = await read_body(request, limit)
    if not body:
        return from_strings(schema, dict(request.query_params))
    if request.query_params:
        raise InputError("query", "options in the JSON body or in the query, not both", "both")
    return await in_thread(len(body), _options_of, schema, body)


def _options_of(schema: type[OptionsT], body: bytes) -> OptionsT:
    try:
        values = parse_json(body)
    except ValueError as error:
        raise RequestError(
            400, "the body cannot be parsed", field="body", expected="JSON", found=str(error)
        ) from None
    return from_json(schema, values)


async def read_npy(request: Request, limit: int) -> NDArray[Any]:
    """A body that is one `.npy` file; 400 for anything else, objects (pickle) included."""
    body = await read_body(request, limit)
    return await in_thread(len(body), _array, body)


def _array(body: bytes) -> NDArray[Any]:
    try:
        return decode_npy(body)
    except InputError as error:
        raise RequestError(
            400, str(error), field="body", expected=error.expected, found=error.found
        ) from None


@dataclass(frozen=True)
class Upload:
    """Pictures as they came: files to be opened and fitted, or one array of the exact size."""

    files: tuple[tuple[str, bytes], ...]
    array: NDArray[Any] | None = None

    async def images(self, spec: ImageSpec, max_pixels: int) -> UInt8Array:
        """uint8 [n, H, W, C]: files cropped and resized as in training, an array as it is."""
        if self.array is not None:
            return self.array
        return await asyncio.to_thread(self._fitted, spec, max_pixels)

    def _fitted(self, spec: ImageSpec, max_pixels: int) -> UInt8Array:
        images = np.empty((len(self.files), *spec.shape), np.uint8)
        for image, (field, data) in zip(images, self.files, strict=True):
            try:
                image[:] = fit(open_image(data, max_pixels=max_pixels), spec)
            except InputError as error:
                raise InputError(field, error.expected, error.found) from error
        return images


async def read_upload(
    request: Request, schema: type[OptionsT], settings: Settings
) -> tuple[OptionsT, Upload]:
    """Pictures from a multipart form, a raw picture or a `.npy` body, with their options.

    Options stand in the query string or, in a multipart form, in its plain fields.
    """
    kind = media_type(request)
    if kind != MULTIPART and kind not in (NPY, BYTES) and not kind.startswith("image/"):
        raise _unknown_media_type(kind, (MULTIPART, "image/*", NPY, BYTES))
    body = await read_body(request, settings.max_body_bytes)
    options = dict(request.query_params)
    if kind == MULTIPART:
        fields, files = await _read_multipart(request, body, settings.max_files)
        twice = sorted(fields.keys() & options.keys())
        if twice:
            raise InputError(twice[0], "one value, in the query or in the form", "both")
        return from_strings(schema, options | fields), Upload(files)
    checked = from_strings(schema, options)
    if kind == NPY or (kind == BYTES and body.startswith(_NPY_MAGIC)):
        return checked, Upload((), await in_thread(len(body), _array, body))
    return checked, Upload((("body", body),))


class _InMemory(MultiPartParser):
    # The body is bounded and already in memory: nothing is written to the disk.
    spool_max_size = 1 << 62


async def _read_multipart(
    request: Request, body: bytes, max_files: int
) -> tuple[dict[str, str], tuple[tuple[str, bytes], ...]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # One more than allowed, so that too many are told from a form that cannot be parsed.
    parser = _InMemory(request.headers, stream(), max_files=max_files + 1, max_fields=100)
    try:
        _, parameters = parse_options_header(request.headers["content-type"])
        if b"--" + parameters.get(b"boundary", b"") + b"--" not in body:
            raise MultiPartException("the closing boundary is missing")
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many_files(max_files) from None
        raise RequestError(
            400,
            "the body cannot be parsed",
            field="body",
            expected=MULTIPART,
            found=error.message,
        ) from None
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                _check_part(value)
                files.append((f"files[{len(files)}]", await value.read()))
            elif name in fields:
                raise InputError(name, "one value", "several")
            else:
                fields[name] = value
    finally:
        await form.close()
    if len(files) > max_files:
        raise _too_many_files(max_files)
    if not files:
        raise InputError("files", "at least one picture file", "none")
    return fields, tuple(files)


def _check_part(part: UploadFile) -> None:
    kind = (part.content_type or "").partition(";")[0].strip().lower()
    if kind not in ("", BYTES) and not kind.startswith("image/"):
        raise _unknown_media_type(kind, ("image/*", BYTES), f"files ({part.filename!r})")


async def in_thread(size: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call(...)`, in a thread where it works on many bytes: the event loop serves everybody."""
    if size <= _SMALL_BYTES:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


def _too_large(limit: int, found: str) -> RequestError:
    return RequestError(
        413,
        "the body is too large",
        field="body",
        expected=f"at most {limit} bytes",
        found=found,
    )


def _too_many_files(limit: int) -> InputError:
    return InputError("files", f"at most {limit} files", "more")


def _unknown_media_type(kind: str, known: tuple[str, ...], field: str = "body") -> RequestError:
    return RequestError(
        415,
        "this media type is not read here",
        field="content-type" if field == "body" else field,
        expected=" or ".join(known),
        found=kind or "none",
    )
