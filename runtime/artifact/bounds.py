"""What one run of a graph costs: the bytes alive at its peak, and its multiply-adds.

Computed from the checked graph alone, by ONNX's shape inference at a batch and a size, before
anything is allocated. It decides how many rows are in one run, how many images an export compares,
and what a load or a request refuses.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from runtime.artifact.graphs import GraphSpec
from runtime.artifact.size import Size

if TYPE_CHECKING:
    import onnx

ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
"""ONNX's numbers of element types -> bytes of a value: float, (u)int8, int32, int64, bool, float16,
double, bfloat16."""

# Constants of so many values or fewer may be shapes, whose values shape inference follows.
_SHAPE_VALUES = 4096

# Their output is their first input's memory under another shape.
_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Cost:
    """One run of a graph, its weights not counted."""

    bytes: int
    """Bytes of inputs, outputs and intermediate tensors alive at once, at the peak."""
    multiply_adds: int


class Bounds:
    """The costs of one graph. Thread-safe; holds the graph's structure, not its weights."""

    def __init__(self, model: "onnx.ModelProto", spec: GraphSpec) -> None:
        self._structure = _without_weights(model)
        self._spec = spec
        self._known: dict[tuple[int, Size], Cost] = {}
        self._lock = threading.Lock()

    def cost(self, rows: int, size: Size = ()) -> Cost:
        """The cost of so many rows at a size. Costs grow linearly with the rows."""
        one, two = self._measured(1, size), self._measured(2, size)
        return Cost(
            one.bytes + (rows - 1) * (two.bytes - one.bytes),
            one.multiply_adds + (rows - 1) * (two.multiply_adds - one.multiply_adds),
        )

    def rows(self, memory: int, size: Size = ()) -> int:
        """How many rows fit into so many bytes; 0 if not even one does."""
        one = self.cost(1, size).bytes
        each = max(1, self.cost(2, size).bytes - one)
        return max(0, 1 + (memory - one) // each)

    def row_bytes(self, size: Size = ()) -> int:
        """Bytes of one row's inputs and outputs."""
        tensors = (*self._spec.inputs, *self._spec.outputs)
        return sum(t.values(size) * np.dtype(t.dtype).itemsize for t in tensors)

    def _measured(self, rows: int, size: Size) -> Cost:
        with self._lock:
            found = self._known.get((rows, size))
            if found is None:
                if len(self._known) > 4096:  # sizes that clients made up must not fill the memory
                    self._known.clear()
                found = self._known[rows, size] = _cost(self._structure, self._spec, rows, size)
            return found


def infer_shapes(
    model: "onnx.ModelProto", spec: GraphSpec, rows: int, size: Size, *, follow_values: bool = True
) -> "onnx.GraphProto":
    """A copy of the graph with every tensor's shape, at a batch and a size.

    The file's own notes on shapes are dropped: then every size of a feed-forward graph follows from
    its inputs and weights. Raises onnx.shape_inference.InferenceError.
    """
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.value_info[:]
    shapes = {tensor.name: (rows, *tensor.at(size)) for tensor in spec.inputs}
    for value in graph.graph.input:
        if value.name in shapes:
            for dim, length in zip(
                value.type.tensor_type.shape.dim, shapes[value.name], strict=True
            ):
                dim.dim_value = length
    for value in graph.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()
        value.type.tensor_type.shape.dim[0].Clear()
    if follow_values:
        _unsqueeze_scalars(graph)
    return onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=follow_values).graph


def _unsqueeze_scalars(model: "onnx.ModelProto") -> None:
    """Write `Reshape(n, [-1])` of an integer n as `Unsqueeze`, through which ONNX's inference
    follows values: torch computes the sizes of reshapes so."""
    import onnx

    found = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    scalars = {
        value.name
        for value in found.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT64
        and value.type.tensor_type.HasField("shape")
        and not value.type.tensor_type.shape.dim
    }
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[0] not in scalars:
            continue
        shape = constants.get(node.input[1])
        if shape is not None and onnx.numpy_helper.to_array(shape).tolist() in ([-1], [1]):
            axes = f"{node.output[0]}.axes"
            model.graph.initializer.append(
                onnx.helper.make_tensor(axes, onnx.TensorProto.INT64, [1], [0])
            )
            node.CopyFrom(
                onnx.helper.make_node("Unsqueeze", [node.input[0], axes], list(node.output))
            )


def shapes_of(graph: "onnx.GraphProto") -> dict[str, tuple[int, tuple[int, ...] | None]]:
    """Element type and shape of every tensor that is not constant; None where it is unknown."""
    found: dict[str, tuple[int, tuple[int, ...] | None]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        known = kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim)
        shape = tuple(d.dim_value for d in kind.shape.dim) if known else None
        found[value.name] = kind.elem_type, shape
    return found


def _without_weights(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same graph, its large constants as inputs: inference then copies no weights."""
    import onnx

    graph = model.graph
    small: list[onnx.TensorProto] = []
    inputs = list(graph.input)
    taken = {value.name for value in inputs}
    for tensor in graph.initializer:
        if prod(tensor.dims) <= _SHAPE_VALUES:
            small.append(tensor)
        elif tensor.name not in taken:
            inputs.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    bare = onnx.helper.make_graph(list(graph.node), graph.name, inputs, list(graph.output), small)
    return onnx.helper.make_model(
        bare, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )


def _cost(model: "onnx.ModelProto", spec: GraphSpec, rows: int, size: Size) -> Cost:
    graph = infer_shapes(model, spec, rows, size)
    shapes = shapes_of(graph)
    varying = {tensor.name for tensor in (*spec.inputs, *spec.outputs)}
    varying.update(name for node in graph.node for name in node.output)
    shapes |= {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer}

    def shape(name: str) -> tuple[int, ...]:
        return shapes.get(name, (0, None))[1] or ()

    def size_of(name: str) -> int:
        kind, dims = shapes.get(name, (1, ()))
        return prod(dims or ()) * ITEM_BYTES.get(kind, 4)

    roots = _roots(graph, varying)
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for name in (*node.input, *node.output):
            last[roots.get(name, name)] = number
    kept = {roots.get(value.name, value.name) for value in graph.output}
    alive = sum(size_of(tensor.name) for tensor in spec.inputs)
    peak, work = alive, 0
    ends: dict[int, list[str]] = {}
    for name, number in last.items():
        if name in varying and name not in kept:
            ends.setdefault(number, []).append(name)
    for number, node in enumerate(graph.node):
        alive += sum(size_of(name) for name in node.output if roots.get(name, name) == name)
        peak = max(peak, alive)
        alive -= sum(size_of(name) for name in ends.get(number, ()))
        count = _MULTIPLY_ADDS.get(node.op_type)
        work += count(node, shape) if count is not None else 0
    return Cost(peak, work)


def _roots(graph: "onnx.GraphProto", varying: set[str]) -> Mapping[str, str]:
    """View -> the tensor whose memory it is."""
    roots: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in _VIEWS and node.input[0] in varying:
            roots[node.output[0]] = roots.get(node.input[0], node.input[0])
    return roots


_Shape = Callable[[str], tuple[int, ...]]


def _convolution(node: "onnx.NodeProto", shape: _Shape) -> int:
    return prod(shape(node.output[0])) * prod(shape(node.input[1])[1:])


def _transposed(node: "onnx.NodeProto", shape: _Shape) -> int:
    return prod(shape(node.input[0])) * prod(shape(node.input[1])[1:])


def _product(node: "onnx.NodeProto", shape: _Shape) -> int:
    return prod(shape(node.output[0])) * (shape(node.input[0]) or (1,))[-1]


def _gemm(node: "onnx.NodeProto", shape: _Shape) -> int:
    rows = (shape(node.output[0]) or (1,))[0]
    return rows * prod(shape(node.input[1]))


_MULTIPLY_ADDS: Mapping[str, Callable[["onnx.NodeProto", _Shape], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "Gemm": _gemm,
}
