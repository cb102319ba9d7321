"""How the operators of a graph look around: along one axis of the image, from input to output.

Element i of a tensor lies at `centre + i * step` pixels, and depends on input pixels within `reach`
of there. An operator moves centre and step, and adds to the reach (Araujo et al. 2019, "Computing
receptive fields of convolutional neural networks"). Operators that mix positions without bound, and
those that are not known here, raise GlobalError or have no rule.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import onnx
from numpy.typing import NDArray

_HALF = Fraction(1, 2)


class GlobalError(Exception):
    """The graph is not local, or not known to be."""


@dataclass(frozen=True)
class Along:
    """A tensor along one axis of the image: its `dim`, and in pixels where its elements lie, and
    how far around they depend on the inputs."""

    dim: int
    step: Fraction
    centre: Fraction
    reach: Fraction
    border: Fraction = Fraction(0)
    """At the image's border, what is mirrored there looks so far into the image."""


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """The shapes of all tensors: of a small image, and of one that is larger along each axis by so
    many pixels (`more`). What grows extends along that axis."""

    small: Shapes
    grown: Sequence[Shapes]
    more: Sequence[int]

    def dim(self, name: str, axis: int) -> int:
        """The one dim of a tensor that extends along an axis; ValueError where it is not one."""
        pairs = zip(self.small[name], self.grown[axis][name], strict=True)
        (dim,) = [i for i, (one, other) in enumerate(pairs) if one != other]
        return dim

    def step(self, name: str, axis: int) -> Fraction:
        """Pixels from one of a tensor's elements to the next."""
        dim = self.dim(name, axis)
        return Fraction(self.more[axis], self.grown[axis][name][dim] - self.small[name][dim])


@dataclass(frozen=True)
class Op:
    """A node, one of its outputs, and what is known of its inputs: `spatial`, along which axes they
    extend, and `values` of constants."""

    node: onnx.NodeProto
    output: str
    attributes: Mapping[str, Any]
    spatial: Mapping[str, Sequence[Along]]
    values: Mapping[str, NDArray[Any]]
    sizes: Sizes

    def input(self, number: int, axis: int) -> Along:
        """An input that must extend along the image."""
        along = self.spatial.get(self.node.input[number])
        if along is None:
            raise GlobalError
        return along[axis]

    def first(self, axis: int) -> Along:
        """The first input, which must be the only one that extends along the image."""
        if list(self.spatial) != [self.node.input[0]]:
            raise GlobalError
        return self.input(0, axis)

    def constant(self, number: int) -> list[int] | None:
        """The numbers of an input; None where it is left out."""
        if len(self.node.input) <= number or not self.node.input[number]:
            return None
        value = self.values.get(self.node.input[number])
        if value is None:
            raise GlobalError
        return [int(number) for number in value.ravel()]

    def rank(self) -> int:
        return len(self.sizes.small[self.node.input[0]])


Rule = Callable[[Op, int], Along]


def _same(op: Op, axis: int) -> Along:
    """Element by element."""
    first, *others = (along[axis] for along in op.spatial.values())
    for other in others:
        if other.step != first.step:
            raise GlobalError
        reach = max(first.reach, other.reach + abs(other.centre - first.centre))
        first = replace(first, reach=reach, border=max(first.border, other.border))
    return first


def _window(op: Op, axis: int) -> tuple[Along, int, int, int]:
    """The input of a convolution or pooling, and along this axis its stride, its padding at the
    beginning, and the distance from a window's first element to its last."""
    along = op.first(axis)
    number, rank = along.dim - 2, op.rank() - 2
    kernel = op.attributes.get("kernel_shape")
    if kernel is None and len(op.node.input) > 1:
        kernel = list(op.sizes.small[op.node.input[1]][2:])
    if number < 0 or kernel is None or op.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise GlobalError
    stride = op.attributes.get("strides", [1] * rank)[number]
    padding = op.attributes.get("pads", [0] * 2 * rank)[number]
    dilation = op.attributes.get("dilations", [1] * rank)[number]
    return along, stride, padding, dilation * (kernel[number] - 1)


def _convolved(op: Op, axis: int) -> Along:
    along, stride, padding, width = _window(op, axis)
    return replace(
        along,
        step=along.step * stride,
        centre=along.centre + along.step * (_HALF * width - padding),
        reach=along.reach + along.step * _HALF * width,
    )


def _transposed(op: Op, axis: int) -> Along:
    along, stride, padding, width = _window(op, axis)
    if "output_shape" in op.attributes:
        raise GlobalError
    step = along.step / stride
    return replace(
        along,
        step=step,
        centre=along.centre + step * (padding - _HALF * width),
        reach=along.reach + step * _HALF * width,
    )


def _regrouped(op: Op, axis: int) -> Along:
    """Several elements become one, or one becomes several."""
    along, step = op.first(axis), op.sizes.step(op.output, axis)
    moved = (step - along.step) / 2
    return replace(along, step=step, centre=along.centre + moved, reach=along.reach + abs(moved))


def _reshaped(op: Op, axis: int) -> Along:
    along, dim = op.first(axis), op.sizes.dim(op.output, axis)
    for shapes in (op.sizes.small, *op.sizes.grown):
        given, made = shapes[op.node.input[0]], shapes[op.output]
        # The axis keeps its place among those before it: its elements are split, or joined with
        # what follows.
        if math.prod(given[: along.dim]) != math.prod(made[:dim]):
            raise GlobalError
    return _regrouped(op, axis)


def _resized(op: Op, axis: int) -> Along:
    along, step = op.first(axis), op.sizes.step(op.output, axis)
    factor = along.step / step
    mode = op.attributes.get("mode", "nearest")
    transform = op.attributes.get("coordinate_transformation_mode", "half_pixel")
    if factor.numerator != 1 and factor.denominator != 1:
        raise GlobalError
    rounding = op.attributes.get("nearest_mode", "round_prefer_floor")
    if (mode, transform, rounding) == ("nearest", "asymmetric", "floor") and factor >= 1:
        return _regrouped(op, axis)
    radius = {"nearest": 1, "linear": 1, "cubic": 2}[mode]
    shrunk = max(Fraction(1), 1 / factor) if op.attributes.get("antialias", 0) else 1
    offsets = {
        "half_pixel": _HALF / factor - _HALF,
        "pytorch_half_pixel": _HALF / factor - _HALF,
        "asymmetric": Fraction(0),
    }
    if transform not in offsets:
        raise GlobalError
    return replace(
        along,
        step=step,
        centre=along.centre + along.step * offsets[transform],
        reach=along.reach + along.step * radius * shrunk,
    )


def _padded(op: Op, axis: int) -> Along:
    along, pads = op.first(axis), op.constant(1)
    mode = op.attributes.get("mode", "constant")
    if pads is None or len(pads) != 2 * op.rank() or mode == "wrap":
        raise GlobalError
    before, after = pads[along.dim], pads[along.dim + op.rank()]
    border = 0 if mode == "constant" else along.reach + along.step * max(before, after)
    return replace(
        along, centre=along.centre - along.step * before, border=max(along.border, border)
    )


def _sliced(op: Op, axis: int) -> Along:
    along, axes = op.first(axis), op.constant(3)
    starts, steps = op.constant(1) or [], op.constant(4)
    for number, start in enumerate(starts):
        dim = number if axes is None else axes[number] % op.rank()
        step = 1 if steps is None else steps[number]
        if dim != along.dim:
            continue
        if start < 0 or step < 1:
            raise GlobalError
        return replace(along, step=along.step * step, centre=along.centre + along.step * start)
    return along


def _product(op: Op, axis: int) -> Along:
    """A matrix product with weights, over the last axis, which must not be one of the image."""
    return _across(op, op.first(axis), op.rank() - 1)


def _across(op: Op, along: Along, *dims: int) -> Along:
    """What mixes values along these dims alone."""
    if any(along.dim == dim % op.rank() for dim in dims):
        raise GlobalError
    return along


def _over_axis(default: int) -> Rule:
    def rule(op: Op, axis: int) -> Along:
        return _across(op, op.first(axis), op.attributes.get("axis", default))

    return rule


def _joined(op: Op, axis: int) -> Along:
    dim = op.attributes["axis"] % op.rank()
    if any(along[axis].dim == dim for along in op.spatial.values()):
        raise GlobalError
    return _same(op, axis)


def _over_last(op: Op, axis: int) -> Along:
    """A norm over an axis and all behind it."""
    first = op.attributes.get("axis", -1) % op.rank()
    return _across(op, op.first(axis), *range(first, op.rank()))


def _reduced(op: Op, axis: int) -> Along:
    axes = op.attributes.get("axes") or op.constant(1)
    if axes is None:
        raise GlobalError
    return _across(op, op.first(axis), *axes)


def _gathered(op: Op, axis: int) -> Along:
    """From a table by codes of the image, or channels of the image by constants."""
    if op.node.input[0] in op.spatial:
        return _over_axis(0)(op, axis)
    return op.input(1, axis)


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Elu Equal Erf Exp Expand
    Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LRN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Transpose Where Xor
"""
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _same),
    **{f"Reduce{name}": _reduced for name in _REDUCTIONS.split()},
    **dict.fromkeys(("Conv", "AveragePool", "LpPool", "MaxPool"), _convolved),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _regrouped),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _over_last),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization", "TopK"), _over_axis(-1)),
    **dict.fromkeys(("ArgMax", "ArgMin", "Split"), _over_axis(0)),
    "Concat": _joined,
    "ConvTranspose": _transposed,
    "Gather": _gathered,
    "MatMul": _product,
    "Pad": _padded,
    "Resize": _resized,
    "Slice": _sliced,
}
"""How the operators act along the image that keep to a neighbourhood."""

COUNTED = frozenset({("MaxPool", 1)})
"""Outputs, by operator and number, that count elements from the beginning of the image: they say
where in it something is, which a tile does not know."""

ARGUMENTS: Mapping[str, int] = dict.fromkeys(
    ("Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Unsqueeze"), 1
)
"""Operators of which only the first inputs are values; the others say sizes, and may follow from
the image's."""
