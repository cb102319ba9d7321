"""Request bodies: bounded while they arrive, told apart by media type; JSON and `.npy` inside."""

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import Request

from bento.errors import RequestError
from bento.exchange.schemas import from_json, from_strings
from bento.settings import Settings
from bento.traffic.calls import call_of
from runtime import InputError
from runtime.images.encoding import decode_npy

P = ParamSpec("P")
T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound=BaseModel)

JSON = "application/json"
NPY = "application/x-npy"
BYTES = "application/octet-stream"

# For each byte of a JSON text: what its values take as Python's objects while they are checked
# (nested lists, 44), and as an array afterwards (`0,` is 8).
_PARSING_BYTES, _ARRAY_BYTES = 48, 4

# Below this, work costs less than handing it to a thread.
_SMALL_BYTES = 16 << 10


@dataclass(frozen=True)
class Body:
    """What a client sent: its media type in lower case, without parameters, and its bytes."""

    kind: str
    content: bytes


async def read_body(request: Request, accepted: tuple[str, ...], settings: Settings) -> Body:
    """The whole body, where its media type is one of `accepted` (`image/*` for any picture).

    415 for another type or a compressed body, before anything is read; 413 for more bytes than the
    settings allow, whatever Content-Length says. No type at all is what the endpoint reads where ""
    is among `accepted`, else JSON where that is.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if JSON in accepted and (kind.endswith("+json") or (not kind and "" not in accepted)):
        kind = JSON
    if kind not in accepted and f"{kind.partition('/')[0]}/*" not in accepted:
        raise unknown_media_type(kind, accepted)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise RequestError(
            415,
            "a compressed body is not read here",
            field="content-encoding",
            expected="no content coding",
            found=coding[:80],
        )
    limit = settings.max_body_bytes
    if kind == JSON:
        limit = min(limit, settings.max_json_bytes)
    return Body(kind, await _read(request, limit))


async def _read(request: Request, limit: int) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise too_large(limit, f"{stated} bytes")
    chunks: list[bytes] = []
    size, holding = 0, call_of(request.scope).holding
    async for chunk in request.stream():
        size += len(chunk)
        holding.take(len(chunk))
        if size > limit:
            raise too_large(limit, "more")
        chunks.append(chunk)
    return b"".join(chunks)


async def read_options(
    request: Request, body: Body, schema: type[OptionsT], max_images: int
) -> OptionsT:
    """Options from a JSON body, or from the query string where the body is empty."""
    if not body.content:
        return from_strings(schema, query_options(request), max_images)
    if request.scope["query_string"]:
        raise InputError("query", "options in the JSON body or in the query, not both", "both")
    size, holding = len(body.content), call_of(request.scope).holding
    holding.take(_ARRAY_BYTES * size)
    if size <= _SMALL_BYTES:
        return _options_of(schema, body.content, max_images)
    with holding.meanwhile(_PARSING_BYTES * size):
        return await asyncio.to_thread(_options_of, schema, body.content, max_images)


def query_options(request: Request, repeated: Collection[str] = ()) -> dict[str, str]:
    """The query string's fields; InputError for one that stands twice, unless it is one of
    `repeated`: then its values are put together, separated by commas."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found and name in repeated:
            value = f"{found[name]},{value}"
        elif name in found:
            raise InputError(name[:80], "one value", "several")
        found[name] = value
    return found


def _options_of(schema: type[OptionsT], content: bytes, max_images: int) -> OptionsT:
    return from_json(schema, _parse_json(content), max_images)


def _parse_json(content: bytes) -> object:
    """JSON in UTF-8, no key twice in one object: another reader may take the other value."""
    try:
        return _DECODER.decode(content.decode())
    except (ValueError, RecursionError) as error:
        raise unparseable("JSON", str(error)) from None


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:80]!r} stands twice in an object")
        found[name] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)  # made once: making one takes microseconds


def read_array(body: Body) -> NDArray[Any]:
    """A body that is one `.npy` file, not copied; 400 for anything else, objects (pickle)
    included."""
    try:
        return decode_npy(body.content)
    except InputError as error:
        raise unparseable(error.expected, error.found) from None


async def in_thread(size: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call(...)`, in a thread where it works on many bytes: the event loop serves everybody."""
    if size <= _SMALL_BYTES:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


def unparseable(expected: str, found: str) -> RequestError:
    """400: the body is not what its media type says."""
    text = "the body cannot be parsed"
    return RequestError(400, text, field="body", expected=expected, found=found)


def unknown_media_type(
    found: str, accepted: tuple[str, ...], field: str = "content-type"
) -> RequestError:
    """415: a media type that is not read here."""
    text = "this media type is not read here"
    expected = " or ".join(filter(None, accepted))
    return RequestError(415, text, field=field, expected=expected, found=found[:80] or "none")


def too_large(limit: int, found: str) -> RequestError:
    """413: more bytes of body, or of JSON in it, than the settings allow."""
    text, expected = "the body is too large", f"at most {limit} bytes"
    return RequestError(413, text, field="body", expected=expected, found=found)
