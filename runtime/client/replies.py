"""What comes back over the wire, as arrays and as exceptions; pure functions of bytes."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError, LatentServeError, ServiceError
from runtime.images import UInt8Array
from runtime.images.encoding import NPY_ERRORS, decode_npy, npy_start, read_npy_header
from runtime.requests.encode import Encoded
from runtime.sampling.posterior import Encoding, Posterior, PosteriorDraw

_TRY_AGAIN = (429, 503)
"""Refused for now: nothing has been run."""
_MAX_HEADER_BYTES = 1 << 20


def read_array(body: bytes) -> NDArray[Any]:
    """The array of an `.npy`: images, or latents."""
    try:
        return decode_npy(body).copy()  # one's own, to write into
    except InputError as error:
        raise _unreadable(error.expected, error.found) from error


def read_encoded(body: bytes) -> Encoded:
    """A posterior, or what stands in its place; the names of the arrays say which."""
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as loaded:
            arrays = cast(dict[str, NDArray[Any]], dict(loaded))
    except (*NPY_ERRORS, BadZipFile, AttributeError) as error:
        raise _unreadable("an .npz", "something else") from error
    if arrays.keys() == {"mean", "log_variance"}:
        return Posterior(**arrays)
    if arrays.keys() == {"latents", "log_density"}:
        return PosteriorDraw(**arrays)
    if arrays.keys() - {"codes"} == {"latents"}:
        return Encoding(**arrays)
    raise _unreadable("a posterior or latents", f"arrays {sorted(arrays)}")


def read_models(body: bytes) -> list[dict[str, Any]]:
    """The entries of `GET /models`."""
    try:
        return json.loads(body)["models"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable("a list of models", "something else") from error


class ArrayReader:
    """Images, or volumes, of an `.npy` that arrives in pieces: `feed` gives those that are
    whole."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._shape: tuple[int, ...] = ()
        self._left = 0

    def feed(self, piece: bytes) -> Iterator[UInt8Array]:
        """The images [k, H, W, C] (volumes [k, D, H, W, 1]) that this piece makes whole, if any."""
        self._held += piece
        if not self._shape and not self._begin():
            return
        each = int(np.prod(self._shape[1:]))
        whole = min(self._left, len(self._held) // max(1, each))
        if whole:
            part = self._held[: whole * each]
            del self._held[: whole * each]
            self._left -= whole
            yield np.frombuffer(part, np.uint8).reshape(whole, *self._shape[1:])

    def end(self) -> None:
        """Raise ServiceError unless all images have come."""
        if not self._shape or self._left:
            raise ServiceError(f"the reply broke off, {self._left or 'all'} images before its end")

    def _begin(self) -> bool:
        """Read the header; whether it is whole."""
        start = npy_start(bytes(self._held[:12]))
        if start > _MAX_HEADER_BYTES:
            raise _unreadable("an .npy", "something else")
        if len(self._held) < max(12, start):
            return False
        try:
            shape, fortran, dtype = read_npy_header(bytes(self._held[:start]))
        except NPY_ERRORS as error:
            raise _unreadable("an .npy", "something else") from error
        if fortran or dtype != np.uint8 or len(shape) not in (4, 5):
            raise _unreadable("uint8 [n, H, W, C] or [n, D, H, W, 1]", f"{dtype} {list(shape)}")
        del self._held[:start]
        self._shape, self._left = shape, shape[0]
        return True


class Retries:
    """How long to wait before a refused request is tried again: as long as `Retry-After` says, and
    `patience` seconds in all."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waited = 0.0

    def pause(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Seconds until the next attempt. Raises the reply's error where none is worth while."""
        stated = headers.get("retry-after", "")
        seconds = float(stated) if stated.isdecimal() else None
        if status in _TRY_AGAIN and seconds is not None:
            seconds = max(seconds, 0.05)
            if self._waited + seconds <= self._patience:
                self._waited += seconds
                return seconds
        raise error_of(status, body)


def error_of(status: int, body: bytes) -> LatentServeError:
    """What a reply that is no success says, as an exception: InputError for a value that is not
    valid, ServiceError for all else."""
    try:
        told = json.loads(body)
        reason = str(told["error"])
        field, expected, found = (told.get(name) for name in ("field", "expected", "found"))
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not ours: a proxy's, say.
        return ServiceError(body[:200].decode("utf-8", "replace") or "no reason given", status)
    if status == 422 and field is not None:
        return InputError(str(field), str(expected), str(found))
    return ServiceError(reason, status, field, expected, found)


def _unreadable(expected: str, found: str) -> ServiceError:
    return ServiceError("the reply cannot be read", None, "body", expected, found)
