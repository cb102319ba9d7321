"""Our nodes around the graph of a file: the inputs and outputs of an artifact's graph outside."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.graphs import needed_nodes, replace_nodes
from export.onnx_files.tensors import Bound
from runtime.artifact.shapes import Structure, Tensor
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.sampling.posterior import LOG_VARIANCE

PREFIX = "network/"
"""Before all names of the file's own."""

_KINDS = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
_ROWS = 3
_FLOAT, _UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def wrapped(
    model: ModelProto, spec: GraphSpec, inputs: Sequence[Bound], outputs: Sequence[Bound]
) -> ModelProto:
    """`model`, which is changed, with the signature of `spec`, whose tensors are these of its own,
    in order; its batch and named axes are free."""
    named = onnx.compose.add_prefix(model, PREFIX, inplace=True)
    nodes = _Nodes()
    renamed: dict[str, str] = {}
    for tensor, bound in zip(spec.inputs, inputs, strict=True):
        renamed[PREFIX + bound.port.name] = _given(nodes, tensor, bound)
    inner = list(named.graph.node)
    for node in inner:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    before = list(nodes.nodes)
    nodes.nodes.clear()
    for tensor, bound in zip(spec.outputs, outputs, strict=True):
        name = PREFIX + bound.port.name
        _made(nodes, tensor, bound, renamed.get(name, name))
    constants = [*named.graph.initializer, *nodes.constants]
    replace_nodes(named, [*before, *inner, *nodes.nodes], constants)
    _sign(named, spec)
    replace_nodes(named, needed_nodes(named), list(named.graph.initializer))
    return named


def free_batch(model: ModelProto, batch: int) -> None:
    """Let reshapes take any number of rows where they were written for `batch` of them."""
    constants = _integers(model)
    varying = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if varying.isdisjoint(node.input):
            continue
        varying.update(node.output)
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or not shape.size or shape[0] != batch:
            continue
        # As many as are left, or, where another axis takes these, as the input has (0).
        rows = 0 if (shape < 0).any() else -1
        if any(a.name == "allowzero" and a.i for a in node.attribute):
            if (shape == 0).any():
                continue
            node.ClearField("attribute")
        name = f"{node.output[0]}.rows"
        free = np.concatenate([[rows], shape[1:]]).astype(np.int64)
        model.graph.initializer.append(numpy_helper.from_array(free, name))
        node.input[1] = name


def lost_batch(model: ModelProto, spec: GraphSpec, size: Size) -> str | None:
    """The first node that takes more for more rows but does not give more, or that fails on them;
    None where all nodes are at fault already at one row."""
    structure = Structure(model)
    nodes = list(structure.nodes)

    def tensors(rows: int, count: int) -> Mapping[str, Tensor] | None:
        structure.nodes[:] = nodes[:count]
        try:
            return structure.tensors(spec, rows, size)
        except ValueError:
            return None

    one = tensors(1, len(nodes))
    if one is None:
        return None
    counts = range(len(nodes) + 1)
    failing = bisect_left(counts, True, key=lambda count: tensors(_ROWS, count) is None)
    many = tensors(_ROWS, failing - 1) or {}
    for node in nodes[: failing - 1]:
        grows = [any(one[n] != many[n] for n in names if n) for names in (node.input, node.output)]
        if grows == [True, False] and node.op_type not in ("Shape", "Size"):
            return _titled(node)
    return _titled(nodes[failing - 1]) if failing <= len(nodes) else None


def _titled(node: NodeProto) -> str:
    return f"{node.op_type} {(node.name or node.output[0]).removeprefix(PREFIX)!r}"


def _integers(model: ModelProto) -> Mapping[str, NDArray[Any]]:
    """The small constants of whole numbers."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, NDArray[Any]] = {}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.type == AttributeProto.TENSOR:
                tensors[node.output[0]] = attribute.t
            elif attribute.type == AttributeProto.INTS:
                found[node.output[0]] = np.array(attribute.ints, np.int64)
    for name, tensor in tensors.items():
        if tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1:
            found[name] = numpy_helper.to_array(tensor)
    return found


class _Nodes:
    """Nodes in the order they are added, each with one output; and their constants."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{inputs[0]}.{op}"
        self.nodes.append(
            helper.make_node(op, inputs, [name], f"{op} of {inputs[0]}", **attributes)
        )
        return name

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def floats(self, *values: float) -> list[str]:
        return [self.constant(np.array(value, np.float32)) for value in values]


def _given(nodes: _Nodes, tensor: TensorSpec, bound: Bound) -> str:
    """The name of the graph's input as the file's own takes it."""
    name, kind = tensor.name, _KINDS[tensor.dtype]
    if tensor.dtype == "uint8":
        # Cast before anything else: TensorRT does nothing else with bytes.
        name, kind = nodes.add("Cast", name, to=_FLOAT), _FLOAT
        if bound.planes:
            name = nodes.add("Transpose", name, perm=[0, 3, 1, 2])
        if bound.pixels is not None:
            name = nodes.add("Mul", name, nodes.constant(bound.pixels.scale))
            name = nodes.add("Add", name, nodes.constant(bound.pixels.offset))
    if bound.port.kind != kind:
        name = nodes.add("Cast", name, to=bound.port.kind)
    if bound.column:
        name = nodes.add("Unsqueeze", name, nodes.constant(np.array([1], np.int64)))
    return name


def _made(nodes: _Nodes, tensor: TensorSpec, bound: Bound, name: str) -> None:
    """The graph's output from the file's own."""
    kind = TensorProto.INT64 if tensor.dtype == "int64" else _FLOAT
    if bound.port.kind != kind:
        name = nodes.add("Cast", name, to=kind)
    if bound.column:
        name = nodes.add("Squeeze", name, nodes.constant(np.array([1], np.int64)))
    if tensor.role == "log_variance":
        nodes.add("Clip", name, *nodes.floats(*LOG_VARIANCE), output=tensor.name)
        return
    if bound.pixels is None:
        nodes.add("Identity", name, output=tensor.name)
        return
    low, scale = nodes.floats(bound.pixels.low, 255.0 / bound.pixels.span)
    name = nodes.add("Mul", nodes.add("Sub", name, low), scale)
    # Half to even, and clamped before the cast: engines disagree on casts outside [0, 256).
    name = nodes.add("Clip", nodes.add("Round", name), *nodes.floats(0.0, 255.0))
    if bound.planes:
        name = nodes.add("Transpose", name, perm=[0, 2, 3, 1])
    nodes.add("Cast", name, output=tensor.name, to=_UINT8)


def _sign(model: ModelProto, spec: GraphSpec) -> None:
    graph = model.graph
    del graph.input[:], graph.output[:]
    for field, tensors in ((graph.input, spec.inputs), (graph.output, spec.outputs)):
        for tensor in tensors:
            shape = ["batch", *tensor.shape]
            field.append(helper.make_tensor_value_info(tensor.name, _KINDS[tensor.dtype], shape))
