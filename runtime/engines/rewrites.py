"""Graph passes that leave what a graph computes the same and make it faster on some engines.

Which form of a graph is fastest depends on the engine, so an artifact holds the graph as it was
exported, and a backend rewrites it after it was verified. Equations are written for one axis of
the image; the other is alike. In them x is an input at low resolution, w a kernel.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Form = Literal["plain", "folded", "subpixel"]
"""`plain`: as exported. `folded`: fewer multiplications on any engine. `subpixel`: moreover,
transposed convolutions as plain ones, for engines with slow transposed convolutions."""


REVISION = 1
"""Counts changes of what the passes make, for whoever remembers something about it."""


def rewrite(model: "ModelProto", form: Form) -> "ModelProto":
    """A copy of `model` in another form; a graph that no pass matches is copied as it is.

    `model` has passed `check_graph`: the passes rely on there being no subgraphs.
    Weights are combined in float64 and rounded once, so results differ by float32 rounding only.
    """
    graph = _Graph(model)
    passes = [apply for step in _FORMS[: _FORMS.index(form) + 1] for apply in _PASSES[step]]
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        replacement = next(filter(None, (apply(graph, node) for apply in passes)), None)
        if replacement:
            replacement[-1].output[0] = node.output[0]
            # Nodes further on see what is here now: Resize, Conv 1x1, Conv 3x3 becomes Conv 1x1,
            # Resize, Conv 3x3, and its end matches again.
            graph.producers[node.output[0]] = replacement[-1]
        nodes += replacement or [node]
    return graph.copy_with(nodes)


def forms(model: "ModelProto") -> tuple[Form, ...]:
    """The forms in which `model` differs, in the order of `Form`; `plain` is always the first.

    A form is known by the first node that one of its passes matches, which makes this cheap.
    """
    graph = _Graph(model)

    def differs(form: Form) -> bool:
        return any(apply(graph, node) for node in model.graph.node for apply in _PASSES[form])

    return ("plain", *filter(differs, _FORMS))


class _Graph:
    """The graph that passes rewrite: queries, and the constants and names that they add."""

    def __init__(self, model: "ModelProto") -> None:
        self._model = model
        graph = model.graph
        # A constant that is an input too is only that input's default.
        self._inputs = {value.name for value in graph.input}
        self._constants = {t.name: t for t in graph.initializer if t.name not in self._inputs}
        self.producers = {name: node for node in graph.node for name in node.output}
        self._names = {*self._inputs, *self._constants, *self.producers}
        self._names.update(node.name for node in graph.node)
        self._added: list[TensorProto] = []

    @cached_property
    def _shapes(self) -> "dict[str, tuple[int, ...]]":
        """Sizes by tensor, 0 where one is not known before the graph is run."""
        import onnx

        # The file's own notes on shapes may be wrong; what follows from the weights is not.
        bare = onnx.ModelProto()
        bare.CopyFrom(self._model)
        del bare.graph.value_info[:]
        graph = onnx.shape_inference.infer_shapes(bare).graph
        return {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info)
        }

    def is_pixel(self, name: str) -> bool:
        """Whether a tensor is known to be [B, channels, 1, 1]."""
        return self._shapes.get(name, ())[2:] == (1, 1)

    def constants(self, names: Sequence[str]) -> list[NDArray[np.float32]] | None:
        """The values of tensors, if all of them are float32 constants; absent ones are left out."""
        from onnx import TensorProto, numpy_helper

        tensors = [self._constants.get(name) for name in names if name]
        floats = [t for t in tensors if t is not None and t.data_type == TensorProto.FLOAT]
        return [numpy_helper.to_array(t) for t in floats] if len(floats) == len(tensors) else None

    def add(self, values: NDArray[Any]) -> str:
        """Add a constant, float64 rounded to float32, and return its name."""
        from onnx import numpy_helper

        rounded = values.astype(np.float32) if values.dtype == np.float64 else values
        name = self._new_name("constant")
        self._added.append(numpy_helper.from_array(np.ascontiguousarray(rounded), name))
        return name

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> "NodeProto":
        """A new node with one output, whose name is the node's own."""
        from onnx import helper

        name = self._new_name(op)
        return helper.make_node(op, inputs, [name], name, **attributes)

    def _new_name(self, stem: str) -> str:
        names = (f"rewritten_{stem}_{count}" for count in range(len(self._names) + 1))
        name = next(name for name in names if name not in self._names)
        self._names.add(name)
        return name

    def copy_with(self, nodes: "list[NodeProto]") -> "ModelProto":
        """A copy of the model with other nodes, less whatever no output needs any more."""
        import onnx

        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        graph = result.graph
        if nodes == list(graph.node):
            return result
        needed = {value.name for value in graph.output}
        kept: list[NodeProto] = []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        needed |= self._inputs
        constants = [t for t in (*graph.initializer, *self._added) if t.name in needed]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(reversed(kept))
        graph.initializer.extend(constants)
        return result


def _pixel_as_gemm(graph: _Graph, node: "NodeProto") -> "list[NodeProto]":
    """A transposed convolution of a 1x1 image is a matrix product.

    out[b, o, y] = bias[o] + sum_i x[b, i, 0] w[i, o, y]
    """
    weights = _weights(graph, node, "ConvTranspose")
    if not weights or not _has(node, weights[0]) or not graph.is_pixel(node.input[0]):
        return []
    kernel, *bias = weights
    size = kernel[0, 0].size
    rows = graph.node("Flatten", node.input[:1], axis=1)
    operands = [kernel.reshape(len(kernel), -1), *(np.repeat(b, size) for b in bias)]
    product = graph.node("Gemm", [rows.output[0], *map(graph.add, operands)])
    shape = graph.add(np.array([0, *kernel.shape[1:]], np.int64))  # 0 keeps the batch
    return [rows, product, graph.node("Reshape", [product.output[0], shape])]


def _convolution_before_resize(graph: _Graph, node: "NodeProto") -> "list[NodeProto]":
    """A 1x1 convolution of an image with doubled pixels, at a quarter of the cost.

    out[y] = w x[y // 2] = (w x)[y // 2]: it does not matter which comes first.
    """
    weights = _weights(graph, node, "Conv")
    resize = _doubling(graph, node)
    if not weights or resize is None or not _has(node, weights[0], square=1):
        return []
    convolution = graph.node("Conv", [resize.input[0], *node.input[1:]])
    doubled = graph.node("Resize", [convolution.output[0], *resize.input[1:]])
    convolution.attribute.extend(node.attribute)
    doubled.attribute.extend(resize.attribute)
    return [convolution, doubled]


def _convolution_of_doubled(graph: _Graph, node: "NodeProto") -> "list[NodeProto]":
    """A 3x3 convolution of an image with doubled pixels sees each of its pixels more than once.

    out[2i]     = w[0] x[i-1] + (w[1] + w[2]) x[i]
    out[2i + 1] = (w[0] + w[1]) x[i] + w[2] x[i+1]

    Those are the taps of a transposed convolution with stride 2 and the kernel
    (w[2], w[1] + w[2], w[0] + w[1], w[0]), which is w reversed plus the same one place further:
    in two dimensions four multiplications for each output pixel, not nine. So for any odd size.
    """
    weights = _weights(graph, node, "Conv")
    resize = _doubling(graph, node)
    if not weights or resize is None:
        return []
    kernel, *bias = weights
    size = kernel.shape[-1]
    if size < 3 or size % 2 == 0 or not _has(node, kernel, square=size, pads=size // 2):
        return []
    longer = kernel.astype(np.float64)[..., ::-1, ::-1].swapaxes(0, 1)
    for axis in (2, 3):
        blank = np.zeros_like(longer.take([0], axis))
        longer = np.concatenate([longer, blank], axis) + np.concatenate([blank, longer], axis)
    return _subpixel(graph, resize.input[0], longer, bias)


def _transposed_as_subpixel(graph: _Graph, node: "NodeProto") -> "list[NodeProto]":
    """A transposed convolution that doubles an image: stride 2, an even kernel."""
    weights = _weights(graph, node, "ConvTranspose")
    if not weights:
        return []
    kernel, *bias = weights
    size = kernel.shape[-1]
    if size % 2 or not _has(node, kernel, square=size, strides=2, pads=size // 2 - 1):
        return []
    return _subpixel(graph, node.input[0], kernel.astype(np.float64), bias)


def _subpixel(
    graph: _Graph, source: str, kernel: NDArray[np.float64], bias: list[NDArray[np.float32]]
) -> "list[NodeProto]":
    """A transposed convolution (stride 2, pads p = m - 1) as convolution, interleaving and crop.

    `kernel` is [in, out, 2m, 2m]. Output pixels of one parity meet the taps of one parity:

    out[2n + a - p] = sum_s w[2s + a] x[n - s],  a = 0, 1,  s = 0 ... m-1

    (with m = 2: out[2i] = w[1] x[i] + w[3] x[i-1], out[2i + 1] = w[0] x[i+1] + w[2] x[i]).
    For both parities that is a convolution at low resolution with m taps, of x padded by m - 1;
    interleaved, its outputs begin and end p pixels outside the image.
    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
    arXiv:1609.07009.
    """
    taps = kernel.shape[-1] // 2
    crop = taps - 1
    parities = [kernel[:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)]
    stacked = np.concatenate(parities, axis=1).swapaxes(0, 1)[..., ::-1, ::-1]
    weights = [stacked, *(np.tile(b, 4) for b in bias)]
    convolution = graph.node(
        "Conv", [source, *map(graph.add, weights)], kernel_shape=[taps, taps], pads=[crop] * 4
    )
    pixels = graph.node("DepthToSpace", convolution.output, blocksize=2, mode="DCR")
    if crop == 0:
        return [convolution, pixels]
    bounds = np.array([[crop, crop], [-crop, -crop], [2, 3]], np.int64)  # starts, ends, axes
    cropped = graph.node("Slice", [*pixels.output, *map(graph.add, bounds)])
    return [convolution, pixels, cropped]


def _weights(graph: _Graph, node: "NodeProto", op: str) -> list[NDArray[np.float32]] | None:
    """Kernel and, where there is one, bias of a two-dimensional (transposed) convolution."""
    weights = graph.constants(node.input[1:]) if node.op_type == op else None
    return weights if weights and weights[0].ndim == 4 else None


def _has(
    node: "NodeProto",
    kernel: NDArray[np.float32],
    *,
    square: int = 0,
    strides: int = 1,
    pads: int = 0,
) -> bool:
    """Whether a (transposed) convolution has these attributes and the default for any other."""
    shape = list(kernel.shape[2:])
    defaults = {"auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1, "output_padding": [0, 0]}
    defaults |= {"kernel_shape": shape, "strides": [1, 1], "pads": [0] * 4}
    expected = {"kernel_shape": [square] * 2 if square else shape}
    expected |= {"strides": [strides] * 2, "pads": [pads] * 4}
    return defaults | _attributes(node) == defaults | expected


# The ways in which ONNX can say out[y] = x[y // 2].
_HALVES = (
    (b"asymmetric", b"floor"),
    (b"asymmetric", b"round_prefer_floor"),
    (b"half_pixel", b"round_prefer_ceil"),
    (b"half_pixel", b"round_prefer_floor"),
)


def _doubling(graph: _Graph, node: "NodeProto") -> "NodeProto | None":
    """The Resize that doubles each pixel of a node's first input, if there is one."""
    resize = graph.producers.get(node.input[0]) if node.input else None
    if resize is None or resize.op_type != "Resize":
        return None
    found = _attributes(resize)
    coordinates = found.get("coordinate_transformation_mode", b"half_pixel")
    rounding = found.get("nearest_mode", b"round_prefer_floor")
    # After the image and the region (which only another mode reads): scales, or else sizes.
    scales = graph.constants(resize.input[2:])
    doubles = (
        found.get("mode", b"nearest") == b"nearest"
        and (coordinates, rounding) in _HALVES
        and "axes" not in found
        and scales is not None
        and [axes.tolist() for axes in scales] == [[1, 1, 2, 2]]
    )
    return resize if doubles else None


def _attributes(node: "NodeProto") -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


_FORMS: tuple[Form, ...] = get_args(Form)

_Pass = Callable[[_Graph, "NodeProto"], "list[NodeProto]"]
"""The nodes that compute what a node computes, the last one its output; none without a match."""

_PASSES: dict[Form, tuple[_Pass, ...]] = {
    "plain": (),
    "folded": (_pixel_as_gemm, _convolution_before_resize, _convolution_of_doubled),
    "subpixel": (_transposed_as_subpixel,),
}
"""What each form does beyond the forms before it."""
