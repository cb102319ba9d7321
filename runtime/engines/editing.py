"""A graph while it is rewritten, and what passes ask of its nodes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


_SMALL = 1024
"""Values of a constant that may be a shape."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes by tensor, of one image."""


@dataclass(frozen=True)
class Known:
    """What is known of the runs to come: where the graph leaves sizes open, shapes at the smallest
    size and at the usual one; and how many images a run has."""

    images: int = 64
    """At most: more make nothing faster."""
    fewest: int = 1
    """With fewer, runs are faster without Winograd's products."""
    smallest: Shapes = field(default_factory=dict[str, tuple[int, ...]])
    usual: Shapes = field(default_factory=dict[str, tuple[int, ...]])


class Graph:
    """The graph that passes rewrite: queries, and the constants and names that they add."""

    def __init__(self, model: "ModelProto", known: Known | None = None) -> None:
        self._model = model
        self.known = known or Known()
        graph = model.graph
        # A constant that is an input too is only that input's default.
        self._inputs = {value.name for value in graph.input}
        self._constants = {t.name: t for t in graph.initializer if t.name not in self._inputs}
        self.producers = {name: node for node in graph.node for name in node.output}
        self._names = {*self._inputs, *self._constants, *self.producers}
        self._names.update(node.name for node in graph.node)
        self._counts: Counter[str] = Counter()
        self._added: list[TensorProto] = []
        self.added_bytes = 0
        """Of constants."""

    @cached_property
    def _shapes(self) -> "dict[str, tuple[int, ...]]":
        """Sizes by tensor, 0 where one is not known before the graph is run."""
        import onnx

        # The file's own notes on shapes may be wrong; what follows from the weights is not. Of
        # large weights their shapes are enough.
        whole, bare = self._model.graph, onnx.ModelProto()
        bare.ir_version = self._model.ir_version
        bare.opset_import.extend(self._model.opset_import)
        bare.graph.name = whole.name
        for part in ("node", "input", "output"):
            getattr(bare.graph, part).extend(getattr(whole, part))
        for tensor in whole.initializer:
            if math.prod(tensor.dims) <= _SMALL:
                bare.graph.initializer.append(tensor)
            elif tensor.name not in self._inputs:
                kind = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
                bare.graph.input.append(onnx.helper.make_value_info(tensor.name, kind))
        graph = onnx.shape_inference.infer_shapes(bare).graph
        return {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info)
        }

    def sizes(self, name: str) -> tuple[int, int]:
        """Height and width of a tensor [B, channels, height, width], 0 for one that is not known
        before the graph is run."""
        return _sides(self._shapes, name)

    def measured_sizes(self, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width at the smallest size and at the usual one; 0 where nothing is known."""
        fixed = self.sizes(name)
        if all(fixed):
            return fixed, fixed
        return _sides(self.known.smallest, name), _sides(self.known.usual, name)

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
        self.added_bytes += rounded.nbytes
        return name

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> "NodeProto":
        """A new node with one output, whose name is the node's own."""
        from onnx import helper

        name = self._new_name(op)
        return helper.make_node(op, inputs, [name], name, **attributes)

    def _new_name(self, stem: str) -> str:
        while True:
            name = f"rewritten_{stem}_{self._counts[stem]}"
            self._counts[stem] += 1
            if name not in self._names:
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


def _sides(shapes: Shapes, name: str) -> tuple[int, int]:
    shape = shapes.get(name, ())
    return (shape[2], shape[3]) if len(shape) == 4 else (0, 0)


def weights_of(graph: Graph, node: "NodeProto", op: str) -> list[NDArray[np.float32]] | None:
    """Kernel and, where there is one, bias of a two-dimensional (transposed) convolution."""
    weights = graph.constants(node.input[1:]) if node.op_type == op else None
    return weights if weights and weights[0].ndim == 4 else None


def has(
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
    return defaults | attributes_of(node) == defaults | expected


# The ways in which ONNX can say out[y] = x[y // 2].
_HALVES = (
    (b"asymmetric", b"floor"),
    (b"asymmetric", b"round_prefer_floor"),
    (b"half_pixel", b"round_prefer_ceil"),
    (b"half_pixel", b"round_prefer_floor"),
)


def doubling(graph: Graph, node: "NodeProto") -> "NodeProto | None":
    """The Resize that doubles each pixel of a node's first input, if there is one."""
    resize = graph.producers.get(node.input[0]) if node.input else None
    if resize is None or resize.op_type != "Resize":
        return None
    found = attributes_of(resize)
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


def attributes_of(node: "NodeProto") -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def doubled_taps(kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    """The transposed convolution [in, out, size + 1, size + 1] with stride 2 that a convolution
    [out, in, size, size], with padding that keeps sizes, is of an image with doubled pixels.

    out[2i]     = w[0] x[i-1] + (w[1] + w[2]) x[i]
    out[2i + 1] = (w[0] + w[1]) x[i] + w[2] x[i+1]

    Those are the taps of a transposed convolution with stride 2 and the kernel
    (w[2], w[1] + w[2], w[0] + w[1], w[0]), which is w reversed plus the same one place further.
    So for any odd size.
    """
    longer = kernel.astype(np.float64)[..., ::-1, ::-1].swapaxes(0, 1)
    for axis in (2, 3):
        blank = np.zeros_like(longer.take([0], axis))
        longer = np.concatenate([longer, blank], axis) + np.concatenate([blank, longer], axis)
    return longer
