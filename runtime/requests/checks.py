"""Checks of a request's arguments against a model: each function returns the value as it will be
used, or raises InputError that names the field, what was expected and what was found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import SIZE_AXES, Size, axes_of, solve
from runtime.artifact.tensors import Signature, TensorSpec
from runtime.checks import as_list, check_integer, short
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.sampling.posterior import MAX_LATENT
from runtime.sampling.streams import MAX_SEED

Int64Array = NDArray[np.int64]
Label = int | str
Labels = Label | np.integer[Any] | Sequence[Label] | NDArray[Any]
"""One class for all images, or one for each; by name or by index."""

MAX_COUNT = 2**31
MAX_TRUNCATION = 100.0


def as_array(field: str, values: object, expected: str | Callable[[], str]) -> NDArray[Any]:
    """Values as an array of whatever type and shape they are. `expected`: what an error says, or
    what makes it, where that takes longer than an image of a small network should wait."""
    try:
        return np.asarray(values)
    # Lists of unlike lengths; tensors on a GPU, or with gradients.
    except (ValueError, TypeError, RuntimeError) as error:
        said = expected if isinstance(expected, str) else expected()
        raise InputError(field, said, f"no array ({' '.join(str(error).split())})") from None


def check_seed(field: str, value: object) -> int:
    """A seed: an integer in [0, 2^53)."""
    return check_integer(field, value, 0, MAX_SEED - 1)


def check_truncation(value: object) -> float | None:
    """None, or a positive finite float."""
    if value is None:
        return None
    if isinstance(value, np.integer | np.floating):
        value = cast("np.number[Any]", value).item()
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0.0 < value <= MAX_TRUNCATION
    ):
        return float(value)
    raise InputError(
        "truncation", f"a number above 0 and at most {MAX_TRUNCATION:g}, or none", short(value)
    )


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
    names = {name: index for index, name in enumerate(manifest.labels)}
    if isinstance(labels, np.ndarray) and labels.ndim == 0:
        labels = labels.item()
    if isinstance(labels, str | int | np.integer):
        # A broadcast view: no memory for each image.
        return np.broadcast_to(np.int64(_label_index("labels", labels, names)), count)
    each = as_list("labels", labels, f"one of {list(names)}, or one for each image")
    if len(each) not in (1, count):
        raise InputError("labels", f"1 or {count} labels", f"{len(each)}")
    indices = [_label_index(f"labels[{i}]", label, names) for i, label in enumerate(each)]
    return np.broadcast_to(np.array(indices, np.int64), count)


def _label_index(field: str, label: object, names: Mapping[str, int]) -> int:
    if isinstance(label, str) and label in names:
        return names[label]
    index = label
    if isinstance(label, str) and label.isascii() and label.isdecimal() and len(label) < 10:
        index = int(label)  # command lines and query strings know only text
    try:
        return check_integer(field, index, 0, len(names) - 1)
    except InputError as error:  # only now: names of a thousand classes, for each image
        expected = f"one of {list(names)}, or an index below {len(names)}"
        raise InputError(field, expected, error.found) from None


def check_size(manifest: Manifest, size: Sequence[int] | None, *, tiled: bool = False) -> Size:
    """[height, width] as the values of the named axes; None is the default of each.

    A model whose images have one size accepts that size alone. `tiled`: larger images are cut.
    """
    if size is None:
        return manifest.default_size
    bounds = [
        f"{name} {manifest.axes[name].described(tiled=tiled)}"
        for name in SIZE_AXES
        if name in manifest.axes
    ]
    image = manifest.image()
    expected = f"[height, width], {', '.join(bounds) or [image.height, image.width]}"
    given = as_list("size", size, expected)
    if len(given) != len(SIZE_AXES):
        raise InputError("size", expected, short(size))
    values = {
        name: check_integer("size", value, 1, MAX_COUNT, what=expected)
        for name, value in zip(SIZE_AXES, given, strict=True)
    }
    fixed = {"height": image.height, "width": image.width}
    for name, value in values.items():
        axis = manifest.axes.get(name)
        if not (axis.accepts(value, tiled=tiled) if axis is not None else value == fixed[name]):
            raise InputError("size", expected, f"{name} {value}")
    return tuple((name, values.get(name, axis.default)) for name, axis in manifest.axes.items())


def _size_of(
    tensor: TensorSpec, shape: Sequence[int], manifest: Manifest, tiled: bool
) -> Size | None:
    """The values of the named axes for rows of this shape; None where there are none."""
    values = solve(tensor.shape, shape)
    if values is None:
        return None
    axes = manifest.axes
    if not all(axes[name].accepts(value, tiled=tiled) for name, value in values.items()):
        return None
    return tuple((name, values.get(name, axis.default)) for name, axis in axes.items())


def _described(
    tensor: TensorSpec, manifest: Manifest, tiled: bool, lead: tuple[str, ...] = ("n",)
) -> str:
    named = axes_of(tensor.shape)
    bounds = "".join(f", {name} {manifest.axes[name].described(tiled=tiled)}" for name in named)
    return f"{tensor.dtype} of shape {[*lead, *tensor.shape]}{bounds}"


def check_latents(
    field: str,
    latents: ArrayLike,
    manifest: Manifest,
    size: Sequence[int] | None = None,
    *,
    single: bool = False,
    tiled: bool = False,
) -> tuple[Float32Array, Size]:
    """Latents as float32 [n, *latent], n >= 1, all finite, and the size that they are of.

    With `single` one latent is given, without the leading axis; it is returned with it. `tiled`:
    larger ones than the artifact takes at once are cut.
    """
    tensor = manifest.latent
    if tensor is None:
        raise InputError("model", "one with a latent", f"{manifest.name}, which has none")
    expected = _described(tensor, manifest, tiled, () if single else ("n",))
    if not single:
        expected += ", n at least 1"
    array = as_array(field, latents, expected)
    if array.dtype.kind not in "fiu":
        raise InputError(field, expected, f"{array.dtype} of shape {list(array.shape)}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        array = array.astype(np.float32)
    array = array[None] if single else array
    found = _size_of(tensor, array.shape[1:], manifest, tiled)
    if found is None or not array.ndim or not len(array):
        raise InputError(field, expected, f"shape {list(array.shape[1 if single else 0 :])}")
    bad = ~(np.abs(array) <= MAX_LATENT).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise InputError(
            field, f"finite values of at most {MAX_LATENT:g}", f"others in row {int(bad.argmax())}"
        )
    return array, _agreed(tensor, found, manifest, size, tiled)


def _agreed(
    tensor: TensorSpec, found: Size, manifest: Manifest, size: Sequence[int] | None, tiled: bool
) -> Size:
    """The size that a shape says, axes that it does not name taken from the request's size."""
    if size is None:
        return found
    chosen, named = dict(check_size(manifest, size, tiled=tiled)), axes_of(tensor.shape)
    for name, value in found:
        if name in named and chosen[name] != value:
            raise InputError("size", f"{name} {value}, that of the latents", f"{chosen[name]}")
    return tuple(chosen.items())


def check_images(
    field: str, images: NDArray[Any], spec: Signature, manifest: Manifest
) -> tuple[UInt8Array, Size]:
    """Images as uint8 [n, H, W, C], n >= 1, of a size that the graph takes, and that size."""
    tensor = spec.input("images")
    array = as_array(field, images, lambda: expected_images(spec, manifest))
    size = None if tensor is None else _size_of(tensor, array.shape[1:], manifest, spec.tileable)
    if array.dtype != np.uint8 or size is None or not len(array):
        found = f"{array.dtype} of shape {list(array.shape)}"
        raise InputError(field, expected_images(spec, manifest), found)
    return array, size


def expected_images(spec: Signature, manifest: Manifest) -> str:
    """The images that a graph takes, for an error."""
    tensor = spec.input("images")
    described = "images" if tensor is None else _described(tensor, manifest, spec.tileable)
    return f"{described}, n at least 1 (runtime.images.fit brings any picture to it)"


def check_mask(
    field: str, mask: NDArray[Any] | None, spec: Signature, size: Size, count: int
) -> UInt8Array | None:
    """A mask for each image, uint8 [n, H, W, 1]; None where the graph takes none."""
    tensor = spec.input("mask")
    if tensor is None:
        if mask is not None:
            raise InputError(field, "none: this model takes no mask", "one")
        return None
    shape = tensor.at(size)
    expected = f"uint8 of shape {[count, *shape]}, or one mask for all images"
    if mask is None:
        raise InputError(field, expected, "none")
    array = as_array(field, mask, expected)
    if array.shape[1:] == shape[:-1]:
        array = array[..., None]
    if array.dtype != np.uint8 or array.shape[1:] != shape or len(array) not in (1, count):
        raise InputError(field, expected, f"{array.dtype} of shape {list(array.shape)}")
    return np.broadcast_to(array, (count, *shape))
