"""Arithmetic of shapes: the values of small tensors that follow from constants and sizes alone.

Exporters compute the arguments of Reshape, Expand, Tile, Slice or Resize inside the graph. Here
these are computed as an engine computes them, so that every size is known before anything is run.
What is not computed here stays unknown, and a size that would depend on it is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto

Array = NDArray[Any]
Attributes = Mapping[str, Any]

MAX_KNOWN = 4096
"""Tensors of more values are pictures or weights: their values are not followed."""

_INTEGERS = {6: np.int32, 7: np.int64}
_FLOATS = {1: np.float32, 11: np.float64}
KINDS: Mapping[int, type[np.generic]] = {**_INTEGERS, **_FLOATS, 9: np.bool_}
"""ONNX's numbers of those element types whose values are followed."""


def evaluate(node: "NodeProto", inputs: Sequence[Array | None]) -> Sequence[Array] | None:
    """The outputs of a node whose inputs are known (None: left out); None where they are not
    followed, or where engines might disagree (a division by 0, a number that does not fit)."""
    import onnx

    compute = _OPERATORS.get(node.op_type)
    if compute is None:
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    try:
        with np.errstate(all="ignore"):
            made = compute(attributes, *cast("Sequence[Array]", inputs))
    except (ValueError, IndexError, KeyError, TypeError, OverflowError):
        return None
    if made is None:
        return None
    arrays = [np.asarray(array) for array in (made if isinstance(made, list) else [made])]
    return arrays if all(array.dtype.type in KINDS.values() for array in arrays) else None


def _cast(attributes: Attributes, x: Array) -> Array | None:
    kind: int = attributes["to"]
    if kind not in KINDS:
        return None
    if kind in _INTEGERS and x.dtype.kind == "f":
        limits = np.iinfo(_INTEGERS[kind])
        if not (np.isfinite(x).all() and (x > limits.min).all() and (x < limits.max).all()):
            return None
    return x.astype(KINDS[kind])


def _divide(attributes: Attributes, a: Array, b: Array) -> Array | None:
    if a.dtype.kind == "f":
        return a / b
    if not b.all():
        return None
    quotient = a // b  # towards minus infinity; engines divide towards 0
    return quotient + ((a % b != 0) & ((a < 0) != (b < 0))).astype(a.dtype)


def _modulo(attributes: Attributes, a: Array, b: Array) -> Array | None:
    if not b.all():
        return None
    return np.fmod(a, b) if attributes.get("fmod", 0) else np.mod(a, b)


def _gather(attributes: Attributes, x: Array, indices: Array) -> Array:
    return np.take(x, indices, axis=attributes.get("axis", 0))


def _slice(
    attributes: Attributes,
    x: Array,
    starts: Array,
    ends: Array,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    along = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    chosen: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), by, strict=True):
        # Below the first value, going backwards, is further than any index that Python counts
        # from the end.
        last = None if step < 0 and end < -x.shape[axis] else end
        chosen[axis] = slice(start, last, step)
    return x[tuple(chosen)]


def _squeeze(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, None if axes is None else tuple(axes.tolist()))


def _unsqueeze(attributes: Attributes, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(axes.tolist()))


def _reshape(attributes: Attributes, x: Array, shape: Array) -> Array:
    wanted = shape.tolist()
    if not attributes.get("allowzero", 0):
        wanted = [x.shape[i] if length == 0 else length for i, length in enumerate(wanted)]
    return x.reshape(wanted)


def _expand(attributes: Attributes, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _filled(attributes: Attributes, shape: Array) -> Array:
    import onnx

    value = attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    lengths: list[int] = shape.tolist()
    return np.full(lengths, fill.reshape(()), fill.dtype)


def _range(attributes: Attributes, start: Array, limit: Array, step: Array) -> Array | None:
    if start.dtype.kind != "i":  # rounding decides how many
        return None
    return np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _split(attributes: Attributes, x: Array, lengths: Array | None = None) -> list[Array]:
    axis: int = attributes.get("axis", 0)
    if lengths is None:
        parts: int = attributes["num_outputs"]
        lengths = np.full(parts, -(-x.shape[axis] // parts))
    ends: list[int] = np.cumsum(lengths)[:-1].tolist()
    return list[Array](np.split(x, ends, axis))


def _reduced(reduce: Callable[..., Any]) -> Callable[..., Array | None]:
    def compute(attributes: Attributes, x: Array, axes: Array | None = None) -> Array | None:
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            return x
        along = None if axes is None or not axes.size else tuple(axes.tolist())
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(reduce(x, axis=along, keepdims=keep)).astype(x.dtype)

    return compute


def _concat(attributes: Attributes, *arrays: Array) -> Array:
    return np.concatenate(arrays, attributes["axis"])


def _tile(attributes: Attributes, x: Array, repeats: Array) -> Array:
    return np.tile(x, repeats.tolist())


def _transpose(attributes: Attributes, x: Array) -> Array:
    return np.transpose(x, attributes.get("perm"))


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    def compute(attributes: Attributes, *arrays: Array) -> Array:
        return function(*arrays)

    return compute


def _folded(function: Callable[..., Any]) -> Callable[..., Array]:
    def compute(attributes: Attributes, first: Array, *others: Array) -> Array:
        for other in others:
            first = function(first, other)
        return first

    return compute


_OPERATORS: Mapping[str, Callable[..., Array | list[Array] | None]] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and),
    "Cast": _cast,
    "Ceil": _elementwise(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Div": _divide,
    "Equal": _elementwise(np.equal),
    "Expand": _expand,
    "Floor": _elementwise(np.floor),
    "Gather": _gather,
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Identity": _elementwise(np.asarray),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Mod": _modulo,
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Reshape": _reshape,
    "Sign": _elementwise(np.sign),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Sum": _folded(np.add),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(np.where),
}
