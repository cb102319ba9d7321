"""Convolutions with weights of their own for every image, as a graph can hold them.

StyleGANs scale the weights of a convolution by a style, and write it as one convolution with a
group for each image: x [1, B * I, H, W], weights [B * O, I, h, w], `groups=B`. ONNX has no such
number of groups. To scale the weights of input channel i by s_i and of output channel o by d_o is
to scale the channels of x by s, to convolve with the plain weights, and to scale the channels of
the result by d. A captured program is rewritten so where its weights are such a product. For all
other weights each image is unfolded, and multiplied by its own, which costs more memory.

Shapes: B batch, O and I channels, h and w of the kernel; A and C are the first two axes of the
weights of one image, (O, I), of a transposed convolution (I, O).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

_ATEN = torch.ops.aten
_TRANSPOSED = _ATEN.conv_transpose2d.input
_CONVOLUTIONS = (_ATEN.conv2d.default, _TRANSPOSED)
_PRODUCTS = (_ATEN.mul.Tensor, _ATEN.mul.Scalar)
_MOVES = (
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.contiguous.default,
    _ATEN.clone.default,
    _ATEN.to.dtype,
)
_RANK = 5  # of the weights of a batch: B, A, C, h, w


@dataclass
class _Product:
    """Weights [B, A, C, h, w] as a product: `shared` without the batch, `first` [B, A, 1, 1, 1],
    `second` [B, 1, C, 1, 1]; each a node of the graph, or a number. `shape`: [A, C, h, w]."""

    shape: tuple[int, ...]
    shared: list[Any] = field(default_factory=list[Any])
    first: list[Any] = field(default_factory=list[Any])
    second: list[Any] = field(default_factory=list[Any])

    def add(self, node: Any) -> bool:
        """Multiply by a node; False where it is no product of such factors."""
        shape = _shape(node)
        if len(shape) < _RANK or isinstance(shape[0], int):
            self.shared.append(node)
            return not shape or len(shape) < _RANK or shape[0] == 1
        alone = [length == 1 for length in shape[1:]]
        if all(alone[1:]):
            self.first.append(node)
        elif alone[0] and all(alone[2:]):
            self.second.append(node)
        else:
            return node.target in _PRODUCTS and all(self.add(factor) for factor in node.args)
        return True


def without_groups(program: torch.export.ExportedProgram) -> nn.Module | None:
    """The same function with no group for each image; None where the program has none."""
    module: Any = program.module(check_guards=False)
    found = list(_grouped(module.graph))
    if not found:
        return None
    for node in found:
        _rewrite(node)
    for node in module.graph.nodes:
        _rewrite_squares(node)
        if node.target is _ATEN._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # it would keep the weights that it looks at
    module.graph.eliminate_dead_code()
    module.recompile()
    return _Called(module)


class _Called(nn.Module):
    """A module that takes its tensors as `GraphModule` does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> Any:
        return self.module(*tensors)


def _grouped(graph: fx.Graph) -> Iterator[fx.Node]:
    for node in graph.nodes:
        if node.target in _CONVOLUTIONS:
            given = _arguments(node)
            if isinstance(given["groups"], fx.Node) and _shape(given["input"])[0] == 1:
                yield node


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of a node by name, defaults too."""
    schema: Any = node.target
    arguments = schema._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments}
    given |= {argument.name: a for argument, a in zip(arguments, node.args, strict=False)}
    return given | dict(node.kwargs)


def _rewrite(node: fx.Node) -> None:
    given = _arguments(node)
    transposed = node.target is _TRANSPOSED
    product, swapped = _factors(given["weight"])
    names = ["stride", "padding", "dilation"] + ["output_padding"] * transposed
    if product is not None and given["bias"] is None:
        node.target = _scaled
        node.args = (given["input"], product.shared, product.first, product.second, product.shape)
        node.kwargs = {"swapped": swapped, "transposed": transposed}
    else:
        node.target = _unfolded_transposed if transposed else _unfolded
        node.args = (given["input"], given["weight"], given["bias"])
        node.kwargs = {}
    node.kwargs = {**node.kwargs, "groups": given["groups"], **{n: given[n] for n in names}}


def _factors(weight: fx.Node) -> tuple[_Product | None, bool]:
    """Weights [B * A, C, h, w] as a product, and whether that has A and C the other way round."""
    node, swapped = weight, False
    while node.target not in _PRODUCTS or len(_shape(node)) != _RANK:
        before: Any = node.args[0] if node.args else None
        old, new = _shape(before), _shape(node)
        if node.target is _ATEN.transpose.int and len(new) == _RANK:
            swapped = not swapped
            kept = sorted(axis % _RANK for axis in node.args[1:]) == [1, 2]  # pyright: ignore
        else:
            # [B * A, C, h, w] and [B, A, C, h, w] hold the same rows.
            kept = node.target in _MOVES and len(old) in (4, _RANK) and old[-3:] == new[-3:]
        if not kept:
            return None, False
        node = before
    product = _Product(_shape(node)[1:])
    return (product if product.add(node) else None), swapped


def _rewrite_squares(node: fx.Node) -> None:
    """What a demodulation divides by, the sum of all squared weights of an output channel, without
    the weights of every image."""
    if node.target is not _ATEN.sum.dim_IntList:
        return
    given = _arguments(node)
    if sorted(axis % _RANK for axis in given["dim"]) != [2, 3, 4]:
        return
    weights = _squared(given["self"])
    product = _Product(_shape(weights)[1:])
    if len(_shape(weights)) == _RANK and product.add(weights) and product.second:
        node.target = _sum_of_squares
        node.args = (product.shared, product.first, product.second, product.shape)
        node.kwargs = {"keepdim": given["keepdim"]}


def _squared(node: Any) -> Any:
    """The node whose square this one is."""
    args = node.args
    if node.target is _ATEN.square.default:
        return args[0]
    if node.target is _ATEN.pow.Tensor_Scalar and args[1] == 2:
        return args[0]
    return args[0] if node.target is _ATEN.mul.Tensor and args[0] is args[1] else None


def _shape(node: Any) -> tuple[Any, ...]:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _times(factors: Iterable[Any]) -> Any:
    return math.prod(factors, start=1.0)


def _plain(shared: list[Any], shape: list[int]) -> Tensor:
    """The weights [A, C, h, w] that all images share."""
    return torch.as_tensor(_times(shared)).expand(1, *shape)[0]


def _of_channels(factors: Iterable[Tensor]) -> Any:
    """[B, channels, 1, 1], or 1."""
    return _times(factor.flatten(1)[..., None, None] for factor in factors)


def _scaled(
    x: Tensor,
    shared: list[Any],
    first: list[Tensor],
    second: list[Tensor],
    shape: list[int],
    *,
    swapped: bool,
    transposed: bool,
    groups: Any,
    **how: Any,
) -> Tensor:
    """x [1, B * I, H, W] -> [1, B * O, H', W'], by scaled activations."""
    weights = _plain(shared, shape)
    if swapped:
        weights, first, second = weights.transpose(0, 1), second, first
    inputs, outputs = (first, second) if transposed else (second, first)
    channels = weights.shape[0 if transposed else 1]
    rows = x.reshape(groups, channels, *x.shape[2:]) * _of_channels(inputs)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    made = convolve(rows, weights, **how) * _of_channels(outputs)
    return made.reshape(1, -1, *made.shape[2:])


def _sum_of_squares(
    shared: list[Any], first: list[Tensor], second: list[Tensor], shape: list[int], *, keepdim: bool
) -> Tensor:
    """[B, A], or [B, A, 1, 1, 1], of weights [B, A, C, h, w]."""
    plain = _plain(shared, shape).square().sum((2, 3))
    scales = _times(factor.flatten(1) for factor in second).square()
    made = (scales @ plain.mT) * _times(factor.flatten(1).square() for factor in first)
    return made[..., None, None, None] if keepdim else made


def _unfolded(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: Any, **how: Any) -> Tensor:
    """x [1, B * I, H, W] -> [1, B * O, H', W'], by matrix products."""
    kernel = weight.shape[2:]
    rows = x.reshape(groups, weight.shape[1], *x.shape[2:])
    columns = F.unfold(rows, kernel, **how)
    given = zip(x.shape[2:], kernel, how["stride"], how["padding"], how["dilation"], strict=True)
    size = [(length + 2 * p - d * (k - 1) - 1) // s + 1 for length, k, s, p, d in given]
    made = weight.reshape(groups, -1, columns.shape[1]) @ columns
    return _with_bias(made.reshape(1, -1, *size), bias)


def _unfolded_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    groups: Any,
    output_padding: Sequence[int],
    **how: Any,
) -> Tensor:
    """x [1, B * I, H, W] -> [1, B * O, H', W'], by matrix products."""
    kernel, channels = weight.shape[2:], x.shape[1] // groups
    columns = weight.reshape(groups, channels, -1).mT @ x.reshape(groups, channels, -1)
    given = zip(x.shape[2:], kernel, how["stride"], how["padding"], how["dilation"], strict=True)
    least = [(length - 1) * s - 2 * p + d * (k - 1) + 1 for length, k, s, p, d in given]
    height, width = (a + b for a, b in zip(least, output_padding, strict=True))
    made = F.fold(columns, (height, width), kernel, **how)
    return _with_bias(made.reshape(1, -1, height, width), bias)


def _with_bias(made: Tensor, bias: Tensor | None) -> Tensor:
    return made if bias is None else made + bias[None, :, None, None]
