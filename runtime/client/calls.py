"""What the client can ask: one function a request, from its arguments to what goes over the wire.

All functions are pure. A function and its arguments are those of `runtime.Model`, behind the
model's name (`name` or `name@version`; None is the service's first that answers the request).
Options that are not known here (`more`) are passed on to the service, which checks all of them.

Shapes: images uint8 [n, H, W, C], latents float32 [n, *latent].
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.checks import short
from runtime.client.replies import read_array, read_encoded, read_models
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.images.encoding import MEDIA_TYPES, encode_image, encode_npy
from runtime.requests.checks import Labels, as_array
from runtime.requests.encode import Encoded

T = TypeVar("T")

Pictures = NDArray[Any] | Sequence[str | Path]
"""Images as an array, of exactly the model's size; or files of pictures, which the service brings
to that size."""

File = tuple[str, tuple[str, bytes, str]]
"""A field of a form: its name, and the file's name, content and media type."""

_JSON, _NPY = MEDIA_TYPES["json"], MEDIA_TYPES["npy"]
_LATENTS = "numbers of shape [n, *latent]"
_PICTURES = "an array uint8 [n, H, W, C], or paths of picture files"
_MASK = "uint8 of shape [H, W] or [H, W, 1]: one mask for all images"
_ANY_PICTURE = "application/octet-stream"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request over HTTP, and what reads the body of its reply."""

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    content_type: str | None = None
    files: Sequence[File] | None = None


def sample(
    model: str | None = None,
    n: int | None = None,
    *,
    seed: int | None = None,
    offset: int = 0,
    seeds: Sequence[int] | None = None,
    labels: Labels | None = None,
    prompt: str | Sequence[str] | None = None,
    truncation: float | None = None,
    size: Sequence[int] | None = None,
    **more: Any,
) -> Call[UInt8Array]:
    """Images offset..offset+n of `seed` (n is 1 without it), or image 0 of each of `seeds`.

    A seed is needed, as in `runtime.Model`: whatever is tried again gives the same images.
    """
    if seed is None and seeds is None:
        raise InputError("seed", "a seed, or seeds", "neither")
    options = {
        "model": model,
        "n": n,
        "seed": seed,
        "offset": offset or None,
        "seeds": seeds,
        "labels": labels,
        "prompt": prompt,
        "truncation": truncation,
        "size": size,
        **more,
    }
    return _asked("sample", options)


def latents(
    model: str | None = None,
    n: int | None = None,
    *,
    seed: int | None = None,
    offset: int = 0,
    seeds: Sequence[int] | None = None,
    truncation: float | None = None,
    **more: Any,
) -> Call[Float32Array]:
    """The latents float32 [n, *latent] that `sample` decodes for the same arguments."""
    same = {"seed": seed, "offset": offset, "seeds": seeds, "truncation": truncation}
    asked = sample(model, n, **same, **more)
    return Call("POST", "/latents", read_array, content=asked.content, content_type=_JSON)


def decode(
    model: str | None,
    latents: ArrayLike,
    *,
    labels: Labels | None = None,
    seed: int | None = None,
    truncation: float | None = None,
    size: Sequence[int] | None = None,
    same_noise: bool | None = None,
    **more: Any,
) -> Call[UInt8Array]:
    """Images of latents [n, *latent]; with `same_noise`, all with the noise of image 0 of `seed`,
    where the network takes noise."""
    options = {
        "model": model,
        "labels": labels,
        "seed": seed,
        "truncation": truncation,
        "size": size,
        "same_noise": same_noise,
        **more,
    }
    given = as_array("latents", latents, _LATENTS)
    if given.dtype.kind not in "fiu":
        raise InputError("latents", _LATENTS, f"{given.dtype} of shape {list(given.shape)}")
    with np.errstate(over="ignore"):  # the service refuses what float32 cannot hold
        floats = given.astype(np.float32)
    return _sent("decode", floats, options, "npy", read_array)


def encode(
    model: str | None,
    images: Pictures,
    *,
    labels: Labels | None = None,
    seed: int | None = None,
    **more: Any,
) -> Call[Encoded]:
    """A `Posterior` of the images, or with a `seed` a `PosteriorDraw`: one latent of each; an
    `Encoding` where the encoder has no posterior (they are those of `runtime`)."""
    options = {"model": model, "labels": labels, "seed": seed, **more}
    return _sent("encode", images, options, "npz", read_encoded)


def reconstruct(
    model: str | None, images: Pictures, *, labels: Labels | None = None, **more: Any
) -> Call[UInt8Array]:
    """The images encoded and decoded again."""
    options = {"model": model, "labels": labels, **more}
    return _sent("reconstruct", images, options, "npy", read_array)


def translate(
    model: str | None,
    images: Pictures,
    *,
    mask: NDArray[np.uint8] | None = None,
    labels: Labels | None = None,
    seed: int | None = None,
    **more: Any,
) -> Call[UInt8Array]:
    """The images that a network makes of pictures, all of one size. `mask` [H, W] or [H, W, 1], for
    networks that take one, is 255 where they are to act; it serves all pictures."""
    options = {"model": model, "labels": labels, "seed": seed, **more}
    return _sent("translate", images, options, "npy", read_array, mask)


def interpolate(
    model: str | None,
    a: ArrayLike | int,
    b: ArrayLike | int,
    steps: int = 8,
    kind: Literal["slerp", "lerp"] = "slerp",
    *,
    labels: Labels | None = None,
    seed: int | None = None,
    truncation: float | None = None,
    **more: Any,
) -> Call[UInt8Array]:
    """`steps` images on the way from a to b: two latents [*latent], or image 0 of two seeds;
    `seed` is that of the noise, the same in all."""
    seeds = [np.ndim(a), np.ndim(b)] == [0, 0]
    ends = {"seeds": [a, b]} if seeds else {"a": np.asarray(a), "b": np.asarray(b)}
    options = {
        "model": model,
        "steps": steps,
        "kind": kind,
        "labels": labels,
        "seed": seed,
        "truncation": truncation,
        **ends,
        **more,
    }
    return _asked("interpolate", options)


def manifold(
    model: str | None = None, steps: int = 20, *, labels: Labels | None = None, **more: Any
) -> Call[UInt8Array]:
    """A grid over a 2-D latent space, row by row: [steps * steps, H, W, C]."""
    return _asked("manifold", {"model": model, "steps": steps, "labels": labels, **more})


def models(**more: Any) -> Call[list[dict[str, Any]]]:
    """What is served: the entries of `GET /models`."""
    return Call("GET", "/models", read_models, _query(more))


def _asked(name: str, options: Mapping[str, Any]) -> Call[UInt8Array]:
    """Images of nothing but options: JSON, in which alone there is room for latents."""
    given = {key: _plain(value) for key, value in options.items() if value is not None}
    content = b"".join(_json(given | {"format": "npy"}))
    return Call("POST", f"/{name}", read_array, content=content, content_type=_JSON)


def _sent(
    name: str,
    given: Pictures,
    options: Mapping[str, Any],
    reply: str,
    read: Callable[[bytes], T],
    mask: NDArray[np.uint8] | None = None,
) -> Call[T]:
    """What is made of an array or of files, with the options in the query."""
    path, query = f"/{name}", _query({**options, "format": reply})
    pictures = _pictures(given)
    if isinstance(pictures, np.ndarray) and mask is None:
        content = encode_npy(pictures)
        return Call("POST", path, read, query, content, _NPY)
    files = list(_files(pictures))
    if mask is not None:
        files.append(("mask", ("mask.png", encode_image(_checked_mask(mask)), _ANY_PICTURE)))
    return Call("POST", path, read, query, files=files)


def _pictures(given: Any) -> NDArray[Any] | list[Path]:
    """Files, or whatever numpy reads as an array; the service checks its type and shape."""
    if isinstance(given, str | Path):
        return [Path(given)]
    each: Any = given
    if isinstance(given, Iterable) and not isinstance(given, np.ndarray | bytes):
        each = list(cast(Iterable[Any], given))
        if each and all(isinstance(place, str | Path) for place in each):
            return [Path(place) for place in each]
    array = as_array("images", each, _PICTURES)
    if array.dtype.kind not in "biuf":
        raise InputError("images", _PICTURES, f"{array.dtype} of shape {list(array.shape)}")
    return array


def _checked_mask(mask: Any) -> UInt8Array:
    """[H, W, 1]"""
    array = as_array("mask", mask, _MASK)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 1 or not array.size:
        raise InputError("mask", _MASK, f"{array.dtype} of shape {list(array.shape)}")
    return array


def _files(given: NDArray[Any] | list[Path]) -> Iterator[File]:
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 4 or not given.size:
            raise InputError("images", _PICTURES, f"{given.dtype} of shape {list(given.shape)}")
        for i, image in enumerate(given):
            yield "files", (f"{i}.png", encode_image(image), _ANY_PICTURE)
        return
    for place in given:
        try:
            yield "files", (place.name, place.read_bytes(), _ANY_PICTURE)
        except OSError as error:
            raise InputError("images", "readable files", f"{place} ({error.strerror})") from error


def _query(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as a query string has them: lists are separated by commas, or JSON where that would
    be read otherwise."""
    plain = {key: _plain(value) for key, value in options.items() if value is not None}
    return {key: _text(key, value) for key, value in plain.items()}


def _text(option: str, value: Any) -> str:
    items = cast(list[Any], value if isinstance(value, list) else [value])
    texts = [str(item) for item in items]
    listed = any("," in text or text.startswith("[") for text in texts)
    if option == "prompt":  # with commas of its own: the service separates none of them there
        listed = not isinstance(value, str) or value.startswith("[")
    return json.dumps(items) if listed else ",".join(texts)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and all that can be listed, as what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        return cast(NDArray[Any], value).tolist()
    if isinstance(value, str | bytes | Mapping):
        return cast(Any, value)
    if isinstance(value, Iterable):
        return [_plain(each) for each in cast(Iterable[Any], value)]
    return value


def _json(options: Mapping[str, Any]) -> Iterator[bytes]:
    """The pieces of a JSON object."""
    for i, (name, value) in enumerate(options.items()):
        try:
            text = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(name, "what JSON has", short(value)) from error
        yield f"{', ' if i else '{'}{json.dumps(name)}: {text}".encode()
    yield b"}"
