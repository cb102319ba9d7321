"""Small graphs that would cost a machine much: each is refused before any engine sees it.

`python -m tests.runtime.hostile` checks them all with little memory, and says which held.
"""

import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact.graph import check_graph
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.errors import ArtifactError

Build = Callable[["Graph"], object]

SPEC = GraphSpec(
    "decode.onnx",
    "fp32",
    (TensorSpec(name="latents", role="latents", dtype="float32", shape=(4,)),),
    (TensorSpec(name="images", role="images", dtype="uint8", shape=(2, 2, 1)),),
)
MEMORY = 256 << 20
"""Bytes beside what is imported."""


class Graph:
    """A decoder of four pixels, and whatever is added beside it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type = np.int64) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{op}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def filled(self, *shape: int) -> str:
        return self.add("ConstantOfShape", self.constant(shape))

    def rows(self, *shape: int) -> str:
        """[B, *shape], of the latents."""
        axes = self.constant(range(2, 1 + len(shape))) if len(shape) > 1 else ""
        first = self.add("Slice", "latents", *(self.constant([value]) for value in (0, 1, 1)))
        column = self.add("Unsqueeze", first, axes) if axes else first
        return self.add("Expand", column, self.constant([1, *shape]))

    def data(self) -> str:
        """One integer that is known only when the graph is run."""
        largest = self.add("ReduceMax", "latents", keepdims=0)
        return self.add("Cast", largest, to=TensorProto.INT64)

    def data_1d(self) -> str:
        return self.add("Unsqueeze", self.data(), self.constant([0]))

    def model(self, opset: int = 20) -> bytes:
        shape = self.constant([-1, 2, 2, 1])
        nodes = [
            *self.nodes,
            helper.make_node("Reshape", ["latents", shape], ["pixels"]),
            helper.make_node("Cast", ["pixels"], ["images"], to=TensorProto.UINT8),
        ]
        latents = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["batch", 4])
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 2, 2, 1])
        graph = helper.make_graph(nodes, "hostile", [latents], [images], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 10
        return model.SerializeToString()


def _two_oceans(g: Graph) -> None:
    g.add("Sum", g.filled(1 << 28), g.filled(1 << 28))


def _chain(op: str, count: int, start: Callable[[Graph], str]) -> Build:
    def build(g: Graph) -> None:
        name = start(g)
        for _ in range(count):
            name = g.add(op, name)

    return build


def _doubling(g: Graph) -> None:
    name = g.constant(np.ones(64))
    for _ in range(40):
        name = g.add("Concat", name, name, axis=0)


def _products(count: int, rows: bool) -> Build:
    def build(g: Graph) -> None:
        weight = g.filled(2048, 2048)
        name = g.rows(2048, 2048) if rows else weight
        for _ in range(count):
            name = g.add("MatMul", name, weight)

    return build


def _expanded(g: Graph) -> None:
    g.add("Neg", g.add("Expand", g.constant(1.0, float), g.constant([1 << 26])))


def _counted(limit: int) -> Build:
    return lambda g: g.add("Range", g.constant(0), g.constant(limit), g.constant(1))


def _padded(before: int, after: int) -> Build:
    return lambda g: g.add("Pad", g.filled(1), g.constant([before, after]))


def _tiled(repeats: int) -> Build:
    return lambda g: g.add("Tile", g.filled(2), g.constant([repeats]))


def _gathered(g: Graph) -> None:
    g.add("Gather", g.filled(1 << 10), g.add("Cast", g.filled(1 << 26), to=TensorProto.INT64))


def _pooled(g: Graph) -> None:
    g.add("AveragePool", g.rows(1, 1 << 14, 1 << 14), kernel_shape=[8191, 8191])


def _many_alive(g: Graph) -> None:
    g.add("Sum", *(g.rows(1 << 28) for _ in range(9)))


def _one_hot(g: Graph) -> None:
    indices = g.add("Range", g.constant(0), g.constant(1000), g.constant(1))
    g.add("OneHot", indices, g.constant(1 << 20), g.constant([0, 1], np.float32))


def _resized(g: Graph) -> None:
    scales = g.constant([1, 1, 1 << 14, 1 << 14], np.float32)
    g.add("Resize", g.constant(np.ones((1, 1, 1, 1)), np.float32), "", scales)


def _transposed(g: Graph) -> None:
    weight = g.constant(np.ones((1, 1, 4, 4)), np.float32)
    g.add("ConvTranspose", g.filled(1, 1, 64, 64), weight, strides=[1 << 20, 1 << 20])


def _columns(g: Graph) -> None:
    # 64 MiB in, 64 MiB of weights, one pixel of padding: the columns between are 64 GiB.
    weight = g.filled(16, 1, 1024, 1024)
    image = g.rows(16, 128, 128)
    g.add("ConvTranspose", image, weight, pads=[512, 512, 511, 511])


def _outer(letters: str, length: int) -> Build:
    def build(g: Graph) -> None:
        inputs = [g.filled(length) for _ in letters]
        g.add("Einsum", *inputs, equation=f"{','.join(letters)}->{letters}")

    return build


def _silent_outer(g: Graph) -> None:
    g.add("Einsum", *(g.filled(1 << 14) for _ in "abc"), equation="a,b,c->")


def _rereading(g: Graph) -> None:
    ocean = g.filled(1 << 26)
    for _ in range(200):
        g.add("ReduceSum", ocean)


def _squared(g: Graph) -> None:
    g.add("MatMul", "latents", g.add("Transpose", "latents", perm=[1, 0]))


def _cubed(g: Graph) -> None:
    batch = g.add("Gather", g.add("Shape", "latents"), g.constant([0]))
    cube = g.add("Mul", g.add("Mul", batch, batch), batch)
    g.add("Expand", g.constant([1], np.float32), cube)


def _deep(g: Graph) -> None:
    name = "latents"
    for _ in range(30):
        name = g.add("Unsqueeze", name, g.constant([0]))


def _by_data(op: str) -> Build:
    def build(g: Graph) -> None:
        one, number = g.constant([1], np.float32), g.data_1d()
        match op:
            case "Expand" | "Tile":
                g.add(op, one, number)
            case "ConstantOfShape":
                g.add(op, number)
            case "Range":
                g.add(op, g.constant(0), g.data(), g.constant(1))
            case "OneHot":
                g.add(op, g.constant([0]), g.data(), g.constant([0, 1], np.float32))
            case "TopK":
                g.add(op, "latents", number, outputs=2)
            case "Slice":
                g.add(op, "latents", g.constant([0]), number, g.constant([0]))
            case "Pad":
                g.add(op, one, g.add("Concat", number, number, axis=0))
            case "Resize":
                sizes = g.add("Concat", g.constant([1, 1, 4]), number, axis=0)
                g.add(op, g.filled(1, 1, 2, 2), "", "", sizes)
            case _:
                g.add("Reshape", g.filled(64), g.add("Concat", number, g.constant([-1]), axis=0))

    return build


_BY_DATA = (
    *("Expand", "Tile", "ConstantOfShape", "Range", "OneHot"),
    *("TopK", "Slice", "Pad", "Resize", "Reshape"),
)
_CONSTANTS, _ROW = "the constants that the graph computes: expected at most", "one row: expected"
HOSTILE: dict[str, tuple[Build, str]] = {
    "two oceans": (_two_oceans, f"{_CONSTANTS} 5368709.. bytes"),
    "many ponds": (lambda g: [g.filled(1 << 20) for _ in range(200)], _CONSTANTS),
    "doubling": (_doubling, "more than 268435456 values"),
    "expand": (_expanded, f"{_CONSTANTS} .* bytes"),
    "tile": (lambda g: g.add("Tile", g.filled(1), g.constant([1 << 28])), _CONSTANTS),
    "range": (_counted(1 << 27), _CONSTANTS),
    "endless range": (_counted(1 << 62), "more than 268435456 values"),
    "pad": (_padded(1 << 27, 1 << 26), _CONSTANTS),
    "overflowing pad": (_padded(1 << 62, 1 << 62), "dimension|values"),
    "overflowing shape": (lambda g: g.filled(1 << 32, 1 << 32), "more than 268435456 values"),
    "overflowing tile": (_tiled(1 << 62), "dimension|values"),
    "resize": (_resized, _CONSTANTS),
    "one hot": (_one_hot, "more than 268435456 values"),
    "transposed": (_transposed, "more than 268435456 values"),
    "columns": (_columns, f"{_ROW} at most 8589934592 bytes"),
    "outer product": (_outer("ab", 1 << 14), _CONSTANTS),
    "outer product of three": (_outer("abc", 1 << 10), "more than 268435456 values"),
    "hidden outer product": (_silent_outer, f"{_CONSTANTS} .* multiply-adds"),
    "matmul": (
        lambda g: g.add("MatMul", g.filled(1 << 14, 1), g.filled(1, 1 << 14)),
        _CONSTANTS,
    ),
    "gather": (_gathered, _CONSTANTS),
    "many products": (_products(2000, rows=True), f"{_ROW} at most 10000000000000 multiply-adds"),
    "products of constants": (
        _products(20, rows=False),
        f"{_CONSTANTS} 100000000000 multiply-adds",
    ),
    "pooling": (_pooled, f"{_ROW} .* multiply-adds"),
    "many alive": (_many_alive, f"{_ROW} at most 8589934592 bytes"),
    "long work": (_chain("Exp", 8000, lambda g: g.rows(1 << 27)), f"{_ROW} .* 200000000000 values"),
    "long work on constants": (_rereading, f"{_CONSTANTS} .* values"),
    "squared batch": (_squared, "grows faster than the batch"),
    "cubed batch": (_cubed, "grows faster than the batch"),
    "many axes": (_deep, "at most 16 axes"),
    **{f"{op} by data": (_by_data(op), "unknown before it is run") for op in _BY_DATA},
    **{
        op: (lambda g, op=op: g.add(op, "latents"), f"operator {op} is not among")
        for op in ("NonZero", "Unique", "Compress", "RandomNormalLike", "Bernoulli", "Loop")
    },
}


def refused(name: str) -> str:
    """Why a graph is refused; AssertionError where it is not, or for another reason."""
    build, expected = HOSTILE[name]
    graph = Graph()
    build(graph)
    data = graph.model()
    try:
        check_graph(data, SPEC)
    except ArtifactError as error:
        if not re.search(expected, error.reason):
            raise AssertionError(
                f"{name}: expected {expected!r}, found {error.reason!r}"
            ) from error
        return f"{len(data)} bytes: {error.reason}"
    raise AssertionError(f"{name}: {len(data)} bytes were accepted")


def main() -> None:
    check_graph(Graph().model(), SPEC)  # imports what it needs
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    virtual = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEMORY, virtual + MEMORY))
    for name in HOSTILE:
        print(f"{name}: {refused(name)}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    print(f"{len(HOSTILE)} refused, {grown >> 10} MiB more than before")


if __name__ == "__main__":
    sys.exit(main())
