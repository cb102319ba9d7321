"""What callers give, checked: each function returns the value as it will be used, or raises
InputError that names the field, what was expected and what was found."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.artifact.manifest import Manifest
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.sampling.streams import MAX_SEED

Int64Array = NDArray[np.int64]
Label = int | str
Labels = Label | np.integer[Any] | Sequence[Label] | NDArray[Any]
"""One class for all images, or one for each; by name or by index."""

MAX_LATENT = 1e6
"""Beyond it no model has seen anything."""
MAX_COUNT = 2**31


def check_integer(field: str, value: object, low: int, high: int, what: str = "") -> int:
    """`value` as an int in [low, high]; bools and floats are refused."""
    expected = what or f"an integer from {low} to {high}"
    if isinstance(value, bool):
        raise InputError(field, expected, short(value))
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InputError(field, expected, short(value)) from None
    if not low <= number <= high:
        raise InputError(field, expected, short(number))
    return number


def check_seed(field: str, value: object) -> int:
    """A seed: an integer in [0, 2^53)."""
    return check_integer(field, value, 0, MAX_SEED - 1)


def check_truncation(value: object) -> float | None:
    """None, or a positive finite float."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value <= 100.0:
        return float(value)
    raise InputError("truncation", "a number above 0 and at most 100, or none", short(value))


def check_labels(
    manifest: Manifest, labels: Labels | None, count: int, *, required: bool = False
) -> Int64Array | None:
    """Class indices [count] of labels by name or index, one for all or one for each.

    None where there are none; with `required` a conditional model refuses that.
    """
    if labels is None and required and manifest.labels is not None:
        raise InputError("labels", f"one of {list(manifest.labels)} for each image", "none")
    if labels is None:
        return None
    if manifest.labels is None:
        raise InputError("labels", f"none: {manifest.name} has no classes", short(labels))
    names = list(manifest.labels)
    if isinstance(labels, np.ndarray) and labels.ndim == 0:
        labels = labels.item()
    if isinstance(labels, str | int | np.integer):
        # One value seen n times: no memory for any n.
        return np.broadcast_to(np.int64(_label_index("labels", labels, names)), count)
    each = as_list("labels", labels, f"one of {names}, or one for each image")
    if len(each) not in (1, count):
        raise InputError("labels", f"1 or {count} labels", f"{len(each)}")
    indices = [_label_index(f"labels[{i}]", label, names) for i, label in enumerate(each)]
    return np.broadcast_to(np.array(indices, np.int64), count)


def _label_index(field: str, label: object, names: list[str]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    expected = f"one of {names}, or an index below {len(names)}"
    if isinstance(label, str):
        # Command lines and query strings know only text.
        if not (label.isascii() and label.isdecimal() and len(label) < 10):
            raise InputError(field, expected, short(label))
        label = int(label)
    return check_integer(field, label, 0, len(names) - 1, what=expected)


def as_list(field: str, values: object, expected: str) -> list[Any]:
    try:
        return list(values)  # pyright: ignore
    except TypeError:
        raise InputError(field, expected, short(values)) from None


def check_latent(field: str, latent: ArrayLike, manifest: Manifest) -> Float32Array:
    """One latent as float32 [*latent], all finite."""
    try:
        array = np.asarray(latent)
    except ValueError as error:
        expected = f"float32 of shape {list(manifest.latent.shape)}"
        raise InputError(field, expected, f"no array ({error})") from None
    return check_latents(field, array[None], manifest)[0]


def check_latents(field: str, latents: ArrayLike, manifest: Manifest) -> Float32Array:
    """Latents as float32 [n, *latent], n >= 1, all finite."""
    expected = f"float32 of shape {['n', *manifest.latent.shape]}, n at least 1"
    try:
        array = np.asarray(latents)
        if array.dtype.kind not in "fiu":
            raise InputError(field, expected, f"{array.dtype} of shape {list(array.shape)}")
        array = array.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(field, expected, f"no array ({error})") from None
    if array.shape[1:] != manifest.latent.shape or not len(array):
        raise InputError(field, expected, f"shape {list(array.shape)}")
    bad = ~(np.abs(array) <= MAX_LATENT).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise InputError(
            field, f"finite values of at most {MAX_LATENT:g}", f"others in row {int(bad.argmax())}"
        )
    return array


def check_images(field: str, images: NDArray[Any], manifest: Manifest) -> UInt8Array:
    """Images as uint8 [n, H, W, C], n >= 1, of the model's exact size."""
    array = np.asarray(images)
    expected = ("n", *manifest.image.shape)
    if array.dtype != np.uint8 or array.shape[1:] != expected[1:] or not len(array):
        raise InputError(
            field,
            f"uint8 of shape {list(expected)}, n at least 1 (runtime.images.fit brings any "
            "picture to it)",
            f"{array.dtype} of shape {list(array.shape)}",
        )
    return array


def short(value: object) -> str:
    """A value for an error's text, never longer than a line."""
    if isinstance(value, list | tuple | dict | set):
        return f"{type(value).__name__} of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 80 else text[:77] + "..."
