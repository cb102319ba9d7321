"""What a graph may cost: small graphs that would take everything are refused, large ones pass."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import runtime
from runtime import ArtifactError
from runtime.artifact.bounds import Bounds, cost_of
from runtime.artifact.graph import MAX_RUN, check_graph
from runtime.artifact.shapes import Structure
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.artifact.values import MAX_KNOWN, evaluate
from runtime.images.encoding import encode_npz
from tests.runtime.hostile import HOSTILE, SPEC, Graph, refused
from tests.tiny import replace_file, write_artifact


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs_are_refused(name: str) -> None:
    assert refused(name)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_refusing_takes_little_memory() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.runtime.hostile"],
        capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    assert f"{len(HOSTILE)} refused" in found.stdout


def test_sizes_that_the_graph_computes_are_known() -> None:
    """Batch, height and width taken from a shape, computed with, and put together again."""
    graph = Graph()
    shape = graph.add("Shape", "latents")
    batch = graph.add("Slice", shape, graph.constant([0]), graph.constant([1]))
    length = graph.add("Gather", shape, graph.constant(1))
    half = graph.add("Div", length, graph.constant(2))
    equal = graph.add("Equal", half, graph.constant(2))
    side = graph.add("Where", equal, graph.constant(6), graph.constant(1 << 40))
    sides = graph.add("Reshape", side, graph.constant([-1]))
    wanted = graph.add("Concat", batch, sides, sides, axis=0)
    ocean = graph.add("ConstantOfShape", wanted)
    tiled = graph.add("Tile", ocean, graph.add("Concat", graph.constant([1, 2]), sides, axis=0))
    model = check_graph(graph.model(), SPEC)
    tensors = Structure(model).tensors(SPEC, 5, ())
    assert tensors[ocean].shape == (5, 6, 6)
    assert tensors[tiled].shape == (5, 12, 36)


def test_a_transposed_copy_of_every_weight_passes() -> None:
    """4 MiB of weights, and 514 MiB of constants, 510 MiB of them made of nothing."""
    graph = Graph()
    weight = graph.constant(np.zeros((1 << 10, 1 << 10)), np.float32)
    graph.filled(510 << 18)
    graph.add("Transpose", weight)
    check_graph(graph.model(), SPEC)
    graph.add("Transpose", weight)
    with pytest.raises(ArtifactError, match="the constants that the graph computes"):
        check_graph(graph.model(), SPEC)


def test_a_size_that_the_graph_does_not_have_is_an_error_of_the_artifact() -> None:
    graph = Graph()
    graph.add("Add", "latents", graph.constant([1, 2, 3, 4], np.float32))
    tensor = TensorSpec(name="latents", role="latents", dtype="float32", shape=("height",))
    model = onnx.load_model_from_string(graph.model())
    bounds = Bounds(model, replace(SPEC, inputs=(tensor,)))
    assert bounds.cost(3, (("height", 4),)).bytes > 0
    with pytest.raises(ArtifactError, match=r"decode.onnx: at \{'height': 5\}: not a valid ONNX"):
        bounds.cost(3, (("height", 5),))


def autoencoder_kl_decoder(side: int) -> tuple[onnx.ModelProto, GraphSpec]:
    """The convolutions, norms and residuals of Stable Diffusion's decoder (49.5 M parameters) at
    `side` x `side`; weights have shapes only, for nothing is run."""
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []

    def weight(*shape: int) -> str:
        data = bytes(4 * prod(shape)) if prod(shape) <= MAX_KNOWN else b""
        weights.append(TensorProto(name=f"w{len(weights)}", dims=shape, data_type=1, raw_data=data))
        return weights[-1].name

    def node(op: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def conv(x: str, channels: int, made: int, size: int = 3) -> str:
        return node("Conv", x, weight(made, channels, size, size), pads=[size // 2] * 4)

    def block(x: str, channels: int, made: int) -> str:
        h = x
        for given in (channels, made):
            h = node("InstanceNormalization", h, weight(given), weight(given))
            h = node("Add", node("Mul", h, weight(given, 1, 1)), weight(given, 1, 1))
            h = conv(node("Mul", h, node("Sigmoid", h)), given, made)
        return node("Add", x if channels == made else conv(x, channels, made, 1), h)

    h = block(block(conv("latents", 4, 512), 512, 512), 512, 512)
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    channels = 512
    for level, made in enumerate((512, 512, 256, 128)):
        for given in (channels, made, made):
            h = block(h, given, made)
        channels = made
        if level < 3:
            h = conv(node("Resize", h, "", "scales", mode="nearest"), made, made)
    h = node("Transpose", conv(h, 128, 3), perm=[0, 2, 3, 1])
    nodes.append(helper.make_node("Cast", [h], ["images"], to=TensorProto.UINT8))
    graph = helper.make_graph(nodes, "decoder", [], [], [*weights, scales])
    graph.output.extend([helper.make_tensor_value_info("images", TensorProto.UINT8, None)])
    latents = TensorSpec(
        name="latents", role="latents", dtype="float32", shape=(4, side // 8, side // 8)
    )
    images = TensorSpec(name="images", role="images", dtype="uint8", shape=(side, side, 3))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return model, GraphSpec("decode.onnx", "fp32", (latents,), (images,))


def test_a_large_decoder_is_within_the_bounds() -> None:
    model, spec = autoencoder_kl_decoder(1024)
    structure = Structure(model)
    parameters = sum(t.values for t in structure.constants.values())
    cost = cost_of(structure, spec, structure.tensors(spec, 1, ()))
    assert 45e6 < parameters < 55e6
    assert 4e12 < cost.multiply_adds < MAX_RUN.multiply_adds
    assert 2 << 30 < cost.bytes < MAX_RUN.bytes
    assert cost.values < MAX_RUN.values / 4


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


GRID = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
EVALUATED: list[tuple[str, list[np.ndarray], dict[str, Any]]] = [
    ("Add", [ints(1, 2), ints(5)], {}),
    ("Sub", [ints(1, 2), ints(5)], {}),
    ("Mul", [ints(-3, 2), ints(5, 6)], {}),
    ("Div", [ints(7, -7, 7, -7, 6), ints(2, 2, -2, -2, -3)], {}),
    ("Div", [floats(7, -7), floats(2, 2)], {}),
    ("Mod", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)], {}),
    ("Mod", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)], {"fmod": 1}),
    ("Neg", [ints(3, -2)], {}),
    ("Abs", [ints(3, -2)], {}),
    ("Sign", [ints(3, -2, 0)], {}),
    ("Max", [ints(3, -2), ints(1), ints(0, 9)], {}),
    ("Min", [ints(3, -2), ints(1), ints(0, 9)], {}),
    ("Sum", [floats(3, -2), floats(1), floats(0, 9)], {}),
    ("Floor", [floats(2.7, -2.7)], {}),
    ("Ceil", [floats(2.2, -2.2)], {}),
    ("Sqrt", [floats(16, 2)], {}),
    ("Cast", [floats(2.9, -2.9)], {"to": TensorProto.INT64}),
    ("Cast", [ints(0, 2)], {"to": TensorProto.BOOL}),
    ("Cast", [ints(3)], {"to": TensorProto.FLOAT}),
    ("Equal", [ints(1, 2), ints(1, 3)], {}),
    ("Less", [ints(1, 2), ints(1, 3)], {}),
    ("LessOrEqual", [ints(1, 4), ints(1, 3)], {}),
    ("Greater", [ints(1, 4), ints(1, 3)], {}),
    ("GreaterOrEqual", [ints(1, 2), ints(1, 3)], {}),
    ("And", [np.array([True, False]), np.array([True])], {}),
    ("Or", [np.array([True, False]), np.array([False])], {}),
    ("Not", [np.array([True, False])], {}),
    ("Where", [np.array([True, False]), ints(1, 2), ints(9)], {}),
    ("Gather", [GRID, ints(1, -1)], {"axis": 1}),
    ("Gather", [ints(5, 6, 7), np.array(-1)], {}),
    ("Concat", [ints(1), ints(2, 3)], {"axis": 0}),
    ("Concat", [GRID, GRID], {"axis": -1}),
    ("Slice", [GRID, ints(1), ints(1 << 62), ints(1)], {}),
    ("Slice", [GRID, ints(-1), ints(-(1 << 62)), ints(2), ints(-2)], {}),
    ("Slice", [GRID, ints(0, 3), ints(-1, 0), ints(1, -1), ints(1, -1)], {}),
    ("Slice", [ints(1, 2, 3, 4), ints(-3), ints(-1)], {}),
    ("Slice", [ints(1, 2, 3, 4), ints(9), ints(-9), ints(0), ints(-1)], {}),
    ("Squeeze", [ints(5)], {}),
    ("Squeeze", [GRID[:, :1], ints(1)], {}),
    ("Unsqueeze", [GRID, ints(0, -1)], {}),
    ("Reshape", [GRID, ints(0, -1)], {}),
    ("Reshape", [np.array(5), ints(-1)], {}),
    ("Expand", [ints(1, 2, 3), ints(2, 1)], {}),
    ("Tile", [ints(1, 2), ints(3)], {}),
    ("ConstantOfShape", [ints(2, 2)], {}),
    ("ConstantOfShape", [ints(2)], {"value": helper.make_tensor("v", TensorProto.INT64, [1], [7])}),
    ("Range", [np.array(2), np.array(11), np.array(3)], {}),
    ("Range", [np.array(5), np.array(-1), np.array(-2)], {}),
    ("Range", [np.array(5), np.array(1), np.array(2)], {}),
    ("ReduceProd", [ints(2, 3, 4)], {"keepdims": 0}),
    ("ReduceSum", [GRID, ints(1)], {}),
    ("ReduceMax", [GRID, ints(0, 2)], {"keepdims": 0}),
    ("ReduceMin", [GRID], {}),
    ("Transpose", [GRID], {}),
    ("Transpose", [GRID], {"perm": [2, 0, 1]}),
    ("Split", [ints(1, 2, 3), ints(1, 2)], {}),
    ("Split", [ints(1, 2, 3, 4, 5)], {"num_outputs": 2}),
    ("Identity", [ints(3)], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"), EVALUATED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_values_are_those_of_the_engine(
    op: str, inputs: Sequence[np.ndarray], attributes: dict[str, Any]
) -> None:
    names = [f"x{i}" for i in range(len(inputs))]
    outputs = ["y0", "y1"] if op == "Split" else ["y0"]
    node = helper.make_node(op, names, outputs, **attributes)
    given = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, inputs, strict=True)
    ]
    made = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "one", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, dict(zip(names, inputs, strict=True)))
    found = evaluate(node, list(inputs))
    assert found is not None
    for ours, theirs in zip(found, expected, strict=True):
        theirs = np.asarray(theirs)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Div", [ints(1), ints(0)]),
        ("Mod", [ints(1), ints(0)]),
        ("Cast", [floats(1e30)]),
        ("Gather", [ints(1), ints(7)]),
        ("Reshape", [ints(1, 2, 3), ints(2, -1)]),
        ("Range", [floats(0), floats(1), floats(0.1)]),
        ("Pow", [ints(2), ints(40)]),
    ],
)
def test_what_engines_might_disagree_on_stays_unknown(op: str, inputs: list[np.ndarray]) -> None:
    attributes: dict[str, Any] = {"to": TensorProto.INT64} if op == "Cast" else {}
    node = helper.make_node(op, [f"x{i}" for i in range(len(inputs))], ["y"], **attributes)
    assert evaluate(node, inputs) is None


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("decode.latents", lambda a: np.repeat(a, 20, axis=0), "at most 64 rows, found 100"),
        ("decode.latents", lambda a: np.repeat(a, 2, axis=1), r"rows of \[2\], found \[4\]"),
        ("encode.noise", lambda a: a[:3], "as many rows of each input, .* found 3 and 5"),
    ],
)
def test_golden_rows_are_bounded(tmp_path: Path, name: str, change: Any, message: str) -> None:
    artifact = write_artifact(tmp_path, "vae", noise=True)
    with np.load(artifact / "golden.npz") as arrays:
        changed = dict(arrays) | {name: change(arrays[name])}
    replace_file(artifact, "golden.npz", encode_npz(changed))
    with pytest.raises(ArtifactError, match=message):
        runtime.load(artifact, backend="onnxruntime", precision="fp32")
