"""What one run of a graph costs: the bytes alive at its peak, and its work.

Computed from the checked graph alone, at a batch and a size, before anything is allocated. It
decides how many rows are in one run, how many images an export compares, and what a load or a
request refuses.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from runtime.artifact.shapes import Structure, Tensor
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec
from runtime.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

# Their output is their first input's memory under another shape.
_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Cost:
    """One run of a graph, its weights not counted."""

    bytes: int
    """Bytes of inputs, outputs, intermediate tensors and an operator's own buffers alive at once,
    at the peak; among them all constants that the graph computes: engines keep these."""
    multiply_adds: int
    """Of convolutions, matrix products, pooling and interpolation."""
    values: int
    """Values that all operators read or write, whichever are more of each."""


class Bounds:
    """The costs of one graph. Thread-safe; holds the graph's structure, not its weights."""

    def __init__(self, model: "onnx.ModelProto", spec: GraphSpec) -> None:
        self._structure = Structure(model)
        self._spec = spec
        self._known: dict[tuple[int, Size], Cost] = {}
        self._lock = threading.Lock()

    def cost(self, rows: int, size: Size = ()) -> Cost:
        """The cost of so many rows at a size. Costs grow linearly with the rows. ArtifactError
        where the graph has no such size, whatever its manifest says."""
        one, two = self._measured(1, size), self._measured(2, size)

        def at_rows(first: int, second: int) -> int:
            return first + (rows - 1) * (second - first)

        return Cost(
            at_rows(one.bytes, two.bytes),
            at_rows(one.multiply_adds, two.multiply_adds),
            at_rows(one.values, two.values),
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
                try:
                    tensors = self._structure.tensors(self._spec, rows, size)
                except ValueError as error:
                    raise ArtifactError(self._spec.file, f"at {dict(size)}: {error}") from error
                found = self._known[rows, size] = cost_of(self._structure, self._spec, tensors)
            return found


def cost_of(structure: Structure, spec: GraphSpec, tensors: Mapping[str, Tensor]) -> Cost:
    """What one run costs whose tensors are these (`Structure.tensors`)."""
    varying = _varying(structure, spec)
    roots = _roots(structure, varying)
    ends: dict[int, list[str]] = {}
    for name, number in _last_uses(structure, roots).items():
        if name in varying and name not in {roots.get(n, n) for n in structure.outputs}:
            ends.setdefault(number, []).append(name)
    alive = constant_cost(structure, spec, tensors).bytes
    alive += sum(tensors[tensor.name].bytes for tensor in spec.inputs)
    peak, work, values = alive, 0, 0
    for number, node in enumerate(structure.nodes):
        if node.output[0] not in varying:
            continue
        alive += sum(tensors[n].bytes for n in node.output if n and roots.get(n, n) == n)
        peak = max(peak, alive + _buffer(node, tensors))
        alive -= sum(tensors[name].bytes for name in ends.get(number, ()))
        work += _multiply_adds(node, tensors)
        values += 0 if node.output[0] in roots else _touched(node, tensors)
    return Cost(peak, work, values)


def constant_cost(structure: Structure, spec: GraphSpec, tensors: Mapping[str, Tensor]) -> Cost:
    """What the constants cost that the graph computes from others: engines do so when they load
    it, and keep the results. All are counted as alive at once."""
    varying = _varying(structure, spec)
    nodes = [node for node in structure.nodes if node.output[0] not in varying]
    made = sum(tensors[name].bytes for node in nodes for name in node.output if name)
    return Cost(
        made + max((_buffer(node, tensors) for node in nodes), default=0),
        sum(_multiply_adds(node, tensors) for node in nodes),
        sum(_touched(node, tensors) for node in nodes),
    )


def _varying(structure: Structure, spec: GraphSpec) -> set[str]:
    """The tensors that depend on the inputs, or on how many rows there are."""
    varying = {tensor.name for tensor in spec.inputs}
    for node in structure.nodes:
        if not varying.isdisjoint(node.input):
            varying.update(filter(None, node.output))
    return varying


def _roots(structure: Structure, varying: set[str]) -> Mapping[str, str]:
    """View -> the tensor whose memory it is."""
    roots: dict[str, str] = {}
    for node in structure.nodes:
        if node.op_type in _VIEWS and node.input[0] in varying:
            roots[node.output[0]] = roots.get(node.input[0], node.input[0])
    return roots


def _last_uses(structure: Structure, roots: Mapping[str, str]) -> dict[str, int]:
    last: dict[str, int] = {}
    for number, node in enumerate(structure.nodes):
        for name in (*node.input, *node.output):
            last[roots.get(name, name)] = number
    return last


_Tensors = Mapping[str, Tensor]


def _touched(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    if node.op_type in ("Shape", "Size"):
        return 1
    read, written = (
        sum(tensors[name].values for name in names if name) for names in (node.input, node.output)
    )
    return max(read, written)


def _multiply_adds(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    count = _MULTIPLY_ADDS.get(node.op_type)
    return 0 if count is None else count(node, tensors)


def _convolution(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    return tensors[node.output[0]].values * prod(tensors[node.input[1]].shape[1:])


def _transposed(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    return tensors[node.input[0]].values * prod(tensors[node.input[1]].shape[1:])


def _product(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    return tensors[node.output[0]].values * (tensors[node.input[0]].shape or (1,))[-1]


def _gemm(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    rows = (tensors[node.output[0]].shape or (1,))[0]
    return rows * tensors[node.input[1]].values


def _pooled(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    kernel = prod(n for a in node.attribute if a.name == "kernel_shape" for n in a.ints)
    return tensors[node.output[0]].values * kernel


def _interpolated(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    return 16 * _touched(node, tensors)  # 4 x 4 neighbours where it is cubic


def _einsum(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    """The product of the lengths of all its letters, those under an ellipsis among them."""
    equation = next((a.s.decode("ascii", "replace") for a in node.attribute), "")
    lengths: dict[str, int] = {}
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    for term, name in zip(terms, node.input, strict=False):
        before, dots, after = term.partition("...")
        shape = tensors[name].shape
        inner = len(shape) - len(after)
        hidden = [f".{len(shape) - i}" for i in range(len(before), inner)] if dots else []
        for letter, length in zip((*before, *hidden, *after), shape, strict=False):
            lengths[letter] = max(length, lengths.get(letter, 0))
    return prod(lengths.values())


def _buffer(node: "onnx.NodeProto", tensors: _Tensors) -> int:
    """Bytes that ONNX Runtime takes beside a node's inputs and outputs."""
    if node.op_type == "ConvTranspose":  # the columns of one image, before they are added up
        weight, image = tensors[node.input[1]], tensors[node.input[0]]
        return prod(image.shape[2:]) * prod(weight.shape[1:]) * 4
    if node.op_type == "Einsum":  # transposed copies
        return sum(tensors[name].bytes for name in (*node.input, *node.output))
    return 0


_MULTIPLY_ADDS: Mapping[str, Callable[["onnx.NodeProto", _Tensors], int]] = {
    "AveragePool": _pooled,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GridSample": _interpolated,
    "LpPool": _pooled,
    "MatMul": _product,
    "MaxPool": _pooled,
    "Resize": _interpolated,
}
