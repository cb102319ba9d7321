"""Every form of a graph computes the same, and a graph that does not match is left alone."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact.graph import check_graph
from runtime.artifact.reading import read_artifact
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.engines.backend import graph_specs
from runtime.engines.rewrites import Form, forms, rewrite
from tests.tiny import write_artifact

ARTIFACTS = Path(__file__).parents[3] / "artifacts"
SHIPPED = sorted(file.parent for file in ARTIFACTS.glob("*/*/manifest.json"))
FORMS: tuple[Form, ...] = ("plain", "folded", "subpixel")

# An output is a sum of at most 200 products of values near 1. Both graphs round it, and the
# combined weights, to float32: some 1e-7 for each of about sqrt(200) roundings that matter.
TOLERANCE = 2e-5


def graph(
    nodes: list[onnx.NodeProto],
    image: tuple[int, ...],
    weights: dict[str, NDArray[Any]],
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    """Nodes from the input "x", images [B, *image], to outputs of whatever shape."""
    proto = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *image])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", *"chw"]) for y in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def layer(op: str, source: str, result: str, bias: bool = True, **attributes: Any) -> Any:
    return helper.make_node(op, [source, "w", *(["b"] if bias else [])], [result], **attributes)


def doubled(source: str, result: str, **attributes: Any) -> Any:
    """A Resize as PyTorch's exporter writes it, or with other attributes."""
    written = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    kept = {name: value for name, value in (written | attributes).items() if value is not None}
    return helper.make_node("Resize", [source, "", "scales"], [result], mode="nearest", **kept)


SCALES = np.array([1, 1, 2, 2], np.float32)


def pixel(
    kernel: tuple[int, int] = (4, 5),
    image: tuple[int, int] = (1, 1),
    bias: bool = True,
    **more: Any,
) -> onnx.ModelProto:
    weights = {"w": normal(6, 3, *kernel), **({"b": normal(3)} if bias else {})}
    return graph([layer("ConvTranspose", "x", "y", bias, **more)], (6, *image), weights)


def transposed(
    kernel: int = 4, image: tuple[int, int] = (3, 4), bias: bool = True, **more: Any
) -> onnx.ModelProto:
    attributes = {"strides": [2, 2], "pads": [kernel // 2 - 1] * 4} | more
    weights = {"w": normal(6, 3, kernel, kernel), **({"b": normal(3)} if bias else {})}
    return graph([layer("ConvTranspose", "x", "y", bias, **attributes)], (6, *image), weights)


def upsampled(
    kernel: int = 3, image: tuple[int, int] = (3, 4), bias: bool = True, **more: Any
) -> onnx.ModelProto:
    attributes = {"pads": [kernel // 2] * 4} | more
    weights = {"w": normal(3, 6, kernel, kernel), **({"b": normal(3)} if bias else {})}
    nodes = [doubled("x", "up"), layer("Conv", "up", "y", bias, **attributes)]
    return graph(nodes, (6, *image), {"scales": SCALES, **weights})


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def run(model: onnx.ModelProto, batch: int = 2) -> list[NDArray[np.float32]]:
    onnx.checker.check_model(model, full_check=True)
    dims = model.graph.input[0].type.tensor_type.shape.dim[1:]
    images = normal(batch, *(dim.dim_value for dim in dims), seed=batch)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    return session.run(None, {"x": images})  # pyright: ignore[reportReturnType]


def assert_same(model: onnx.ModelProto, other: onnx.ModelProto, batch: int = 2) -> None:
    for first, second in zip(run(model, batch), run(other, batch), strict=True):
        assert first.shape == second.shape
        np.testing.assert_allclose(second, first, rtol=0, atol=TOLERANCE)


def assert_left_alone(model: onnx.ModelProto) -> None:
    assert forms(model) == ("plain",)
    for form in FORMS:
        assert rewrite(model, form).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("kernel", [(1, 1), (4, 4), (7, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_transposed_convolution_of_a_pixel(kernel: tuple[int, int], bias: bool, batch: int) -> None:
    model = pixel(kernel, bias=bias)
    folded = rewrite(model, "folded")
    assert forms(model) == ("plain", "folded")
    assert ops(folded) == ["Flatten", "Gemm", "Reshape"]
    assert_same(model, folded, batch)


@pytest.mark.parametrize(
    ("make", "kernel", "form", "expected"),
    [
        (upsampled, 1, "folded", ["Conv", "Resize"]),
        (upsampled, 3, "folded", ["Conv", "DepthToSpace", "Slice"]),
        (upsampled, 5, "folded", ["Conv", "DepthToSpace", "Slice"]),
        (transposed, 2, "subpixel", ["Conv", "DepthToSpace"]),
        (transposed, 4, "subpixel", ["Conv", "DepthToSpace", "Slice"]),
        (transposed, 6, "subpixel", ["Conv", "DepthToSpace", "Slice"]),
    ],
)
@pytest.mark.parametrize("image", [(1, 1), (2, 3), (5, 4), (7, 9)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_layers_that_double_an_image(
    make: Callable[..., onnx.ModelProto],
    kernel: int,
    form: Form,
    expected: list[str],
    image: tuple[int, int],
    bias: bool,
    batch: int,
) -> None:
    model = make(kernel, image, bias)
    rewritten = rewrite(model, form)
    assert forms(model) == ("plain", form)
    assert ops(rewritten) == expected
    assert_same(model, rewritten, batch)


def test_four_multiplications_instead_of_nine() -> None:
    folded = rewrite(upsampled(3), "folded")
    assert list(folded.graph.initializer[0].dims) == [4 * 3, 6, 2, 2]
    # And a form that adds nothing to the one before it is the same graph.
    assert rewrite(upsampled(3), "subpixel") == folded
    assert rewrite(transposed(4), "folded") == transposed(4)


COORDINATES = ["asymmetric", "half_pixel", "half_pixel_symmetric", "align_corners", None]
ROUNDINGS = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", None]


@pytest.mark.parametrize(
    ("coordinates", "rounding"), list(itertools.product(COORDINATES, ROUNDINGS))
)
def test_only_a_resize_that_repeats_pixels_matches(
    coordinates: str | None, rounding: str | None
) -> None:
    resize = doubled("x", "up", coordinate_transformation_mode=coordinates, nearest_mode=rounding)
    image = (6, 3, 4)
    (up,) = run(graph([resize], image, {"scales": SCALES}, ("up",)))
    repeats = np.array_equal(up, up[:, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3))
    nodes = [resize, layer("Conv", "up", "y", pads=[1] * 4)]
    weights = {"scales": SCALES, "w": normal(3, 6, 3, 3), "b": normal(3)}
    model = graph(nodes, image, weights)
    # The other modes repeat them only but for rounding: PyTorch writes none of those.
    if repeats and coordinates in ("asymmetric", "half_pixel", None):
        assert forms(model) == ("plain", "folded")
        assert_same(model, rewrite(model, "folded"))
    else:
        assert_left_alone(model)


@pytest.mark.parametrize(
    "model",
    [
        pixel(image=(1, 2)),
        pixel(strides=[2, 1]),
        pixel(pads=[0, 1, 0, 1]),
        pixel(dilations=[2, 2]),
        pixel(group=3),
        pixel(auto_pad="VALID"),
        pixel(output_shape=[4, 5]),
        pixel(strides=[2, 2], output_padding=[1, 1]),
        transposed(3),
        transposed(image=(3, 4), pads=[0] * 4),
        transposed(pads=[1, 1, 2, 2]),
        transposed(strides=[1, 2]),
        transposed(strides=[3, 3]),
        transposed(dilations=[2, 2]),
        transposed(group=2),
        transposed(output_padding=[1, 1]),
        transposed(pads=None, auto_pad="SAME_UPPER"),
        transposed(pads=None, auto_pad="VALID"),
        transposed(pads=None, output_shape=[6, 8]),
        upsampled(2, pads=[0, 0, 1, 1]),
        upsampled(pads=[0] * 4),
        upsampled(pads=[1, 1, 0, 0]),
        upsampled(strides=[2, 2]),
        upsampled(pads=[2] * 4, dilations=[2, 2]),
        upsampled(pads=None, auto_pad="SAME_UPPER"),
        upsampled(1, strides=[2, 2]),
        upsampled(1, pads=[1] * 4),
    ],
)
def test_other_attributes_are_left_alone(model: onnx.ModelProto) -> None:
    assert_left_alone(model)


@pytest.mark.parametrize("kernel", [1, 3])
def test_grouped_convolutions_are_left_alone(kernel: int) -> None:
    conv = layer("Conv", "up", "y", pads=[kernel // 2] * 4, group=3)
    weights = {"w": normal(3, 2, kernel, kernel), "b": normal(3)}
    assert_left_alone(graph([doubled("x", "up"), conv], (6, 3, 4), {"scales": SCALES, **weights}))


def test_kernels_that_are_not_square_are_left_alone() -> None:
    conv = layer("Conv", "up", "y", pads=[1, 1, 1, 1])
    weights = {"w": normal(3, 6, 1, 3), "b": normal(3)}
    assert_left_alone(graph([doubled("x", "up"), conv], (6, 3, 4), {"scales": SCALES, **weights}))
    deconv = layer("ConvTranspose", "x", "y", strides=[2, 2], pads=[1, 1, 1, 1])
    assert_left_alone(graph([deconv], (6, 3, 4), {"w": normal(6, 3, 2, 4), "b": normal(3)}))


@pytest.mark.parametrize("scales", [[1, 1, 3, 3], [1, 1, 2, 1], [1, 1, 1, 1], [1, 2, 2, 2]])
def test_other_scales_are_left_alone(scales: list[int]) -> None:
    nodes = [doubled("x", "up"), layer("Conv", "up", "y", pads=[1] * 4)]
    weights = {"w": normal(3, 6 * scales[1], 3, 3), "b": normal(3)}
    weights["scales"] = np.array(scales, np.float32)
    assert_left_alone(graph(nodes, (6, 3, 4), weights))


@pytest.mark.parametrize(
    "resize",
    [
        helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="linear"),
        helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="cubic"),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["up"], mode="nearest"),
        helper.make_node("Resize", ["x", "", "two"], ["up"], mode="nearest", axes=[2, 3]),
    ],
)
def test_other_resizes_are_left_alone(resize: onnx.NodeProto) -> None:
    conv = layer("Conv", "up", "y", pads=[1] * 4)
    weights = {"w": normal(3, 6, 3, 3), "b": normal(3), "sizes": np.array([2, 6, 6, 8])}
    weights |= {"scales": SCALES, "two": SCALES[2:]}
    assert_left_alone(graph([resize, conv], (6, 3, 4), weights))


@pytest.mark.parametrize("dynamic", ["w", "b"])
@pytest.mark.parametrize("model", [pixel(), transposed(), upsampled(), upsampled(1)])
def test_computed_weights_are_left_alone(model: onnx.ModelProto, dynamic: str) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node.insert(0, helper.make_node("Neg", [f"{dynamic}0"], [dynamic]))
    for tensor in changed.graph.initializer:
        tensor.name = tensor.name.replace(dynamic, f"{dynamic}0")
    assert_left_alone(changed)


@pytest.mark.parametrize("model", [pixel(), transposed(), upsampled(), upsampled(1)])
def test_weights_that_a_caller_may_replace_are_left_alone(model: onnx.ModelProto) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    changed.graph.input.append(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, list(weight.dims))
    )
    assert_left_alone(changed)


def test_other_precisions_are_left_alone() -> None:
    conv = helper.make_node(
        "ConvTranspose", ["half", "w"], ["z"], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        conv,
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    assert_left_alone(graph(nodes, (6, 3, 4), {"w": normal(6, 3, 4, 4).astype(np.float16)}))


def test_one_dimensional_convolutions_are_left_alone() -> None:
    conv = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2], pads=[1, 1])
    assert_left_alone(graph([conv], (6, 5), {"w": normal(6, 3, 4)}))


@pytest.mark.parametrize("outputs", [("y",), ("y", "up"), ("up", "y")])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_resize_that_others_need_stays(outputs: tuple[str, ...], kernel: int) -> None:
    """Two more readers: a pooling, and perhaps the caller."""
    nodes = [
        doubled("x", "up"),
        layer("Conv", "up", "convolved", pads=[kernel // 2] * 4),
        helper.make_node("GlobalAveragePool", ["up"], ["pooled"]),
        helper.make_node("ReduceSum", ["pooled", "channel"], ["summed"]),
        helper.make_node("Add", ["convolved", "summed"], ["y"]),
    ]
    weights = {"w": normal(3, 6, kernel, kernel), "b": normal(3), "channel": np.array([1])}
    model = graph(nodes, (6, 3, 4), {"scales": SCALES, **weights}, outputs)
    folded = rewrite(model, "folded")
    assert ops(folded).count("Resize") == (2 if kernel == 1 else 1)
    assert [value.name for value in folded.graph.output] == list(outputs)
    assert_same(model, folded)


def test_a_residual_block_with_shared_weights() -> None:
    """One Resize for both branches, one kernel for two layers, another pass's result as input."""
    nodes = [
        doubled("x", "up"),
        helper.make_node("Conv", ["up", "point"], ["shortcut"]),
        helper.make_node("Conv", ["up", "w"], ["first"], pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["relu"]),
        helper.make_node("Conv", ["relu", "w"], ["second"], pads=[1] * 4),
        helper.make_node("Add", ["shortcut", "second"], ["sum"]),
        doubled("sum", "larger"),
        helper.make_node("Conv", ["larger", "point"], ["mixed"]),
        helper.make_node("Conv", ["mixed", "w"], ["y"], pads=[1] * 4),
    ]
    weights = {"w": normal(6, 6, 3, 3) / 6, "point": normal(6, 6, 1, 1) / 3}
    model = graph(nodes, (6, 3, 5), {"scales": SCALES, **weights})
    folded = rewrite(model, "folded")
    # Conv before Resize, and that Resize into the Conv after it: only the shortcut's one is left.
    assert ops(folded).count("Resize") == 1
    assert ops(folded).count("Slice") == 2
    assert_same(model, folded)


def test_what_nothing_needs_is_dropped_and_the_border_kept() -> None:
    model = transposed()
    model.graph.initializer.append(numpy_helper.from_array(normal(3), "unused"))
    model.graph.value_info.append(helper.make_tensor_value_info("old", TensorProto.FLOAT, [1]))
    result = rewrite(model, "subpixel")
    needed = {name for node in result.graph.node for name in node.input}
    computed = {name for node in result.graph.node for name in node.output}
    assert {tensor.name for tensor in result.graph.initializer} == needed - computed - {"x"}
    assert not result.graph.value_info
    assert result.graph.input == model.graph.input
    assert result.graph.output == model.graph.output


def test_false_notes_on_shapes_are_not_believed() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), layer("ConvTranspose", "r", "y")]
    model = graph(nodes, (6, 2, 2), {"w": normal(6, 3, 4, 4), "b": normal(3)})
    note = helper.make_tensor_value_info("r", TensorProto.FLOAT, ["batch", 6, 1, 1])
    model.graph.value_info.append(note)
    assert_left_alone(model)


def test_names_in_use_are_avoided() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["rewritten_Conv_0"], name="rewritten_Slice_0"),
        layer(
            "ConvTranspose",
            "rewritten_Conv_0",
            "rewritten_constant_0",
            pads=[1] * 4,
            strides=[2, 2],
        ),
        helper.make_node("Relu", ["rewritten_constant_0"], ["y"], name="rewritten_Conv_1"),
    ]
    model = graph(nodes, (6, 3, 4), {"w": normal(6, 3, 4, 4), "b": normal(3)})
    result = rewrite(model, "subpixel")
    assert ops(result) == ["Relu", "Conv", "DepthToSpace", "Slice", "Relu"]
    names = [node.name for node in result.graph.node]
    assert len(set(names)) == len(names)
    assert_same(model, result)


def test_a_rewritten_graph_can_be_rewritten_again() -> None:
    nodes = [
        doubled("x", "up"),
        helper.make_node("Conv", ["up", "v"], ["z"], pads=[1] * 4),
        layer("ConvTranspose", "z", "y", strides=[2, 2], pads=[1] * 4),
    ]
    weights = {"v": normal(4, 6, 3, 3) / 6, "w": normal(4, 3, 4, 4) / 4, "b": normal(3)}
    model = graph(nodes, (6, 3, 4), {"scales": SCALES, **weights})
    assert forms(model) == FORMS
    folded = rewrite(model, "folded")
    assert forms(folded) == ("plain", "subpixel")
    again = rewrite(folded, "subpixel")
    assert ops(again) == ops(rewrite(model, "subpixel"))
    assert_same(model, again)


@pytest.mark.parametrize("form", FORMS)
def test_the_argument_is_left_alone_and_bytes_repeat(form: Form) -> None:
    for model in (pixel(), transposed(), upsampled(), upsampled(1)):
        before = model.SerializeToString()
        first, second = rewrite(model, form), rewrite(model, form)
        assert first.SerializeToString() == second.SerializeToString()
        first.graph.node[0].name = "changed"
        assert model.SerializeToString() == before


def images_of(model: onnx.ModelProto, spec: GraphSpec, count: int = 8) -> list[NDArray[Any]]:
    def draw(tensor: TensorSpec) -> NDArray[Any]:
        shape = (count, *tensor.at())
        draws = np.random.default_rng(0)
        if tensor.dtype == "float32":
            return draws.standard_normal(shape, dtype=np.float32)
        return draws.integers(0, 3 if tensor.dtype == "int64" else 256, shape, tensor.dtype)

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {t.name: draw(t) for t in spec.inputs})  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.parent.name)
def test_shipped_artifacts_in_every_form(folder: Path) -> None:
    artifact = read_artifact(folder)
    # Other precisions are made from these, and the engine here computes in none of them exactly.
    for spec in graph_specs(artifact.manifest, "fp32").values():
        model = check_graph(artifact.files[spec.file], spec)
        expected = images_of(model, spec)
        for form in forms(model):
            rewritten = check_graph(rewrite(model, form).SerializeToString(), spec)
            assert form == "plain" or ops(rewritten) != ops(model)
            for first, second in zip(expected, images_of(rewritten, spec), strict=True):
                # One grey level is what any fp32 backend may differ by: float32 rounding, at the
                # border between two levels. Moments are not rounded to levels.
                limit = 1 if spec.outputs[0].dtype == "uint8" else TOLERANCE
                assert np.abs(first.astype(float) - second.astype(float)).max() <= limit


@pytest.mark.parametrize("kind", ["plain", "conditional", "vae"])
def test_dense_decoders_have_one_form(tmp_path: Path, kind: Any) -> None:
    artifact = read_artifact(write_artifact(tmp_path, kind))
    for spec in [s for graph in artifact.manifest.graphs.values() for s in graph.specs]:
        assert_left_alone(check_graph(artifact.files[spec.file], spec))


def test_what_the_exporter_writes_is_what_the_passes_match(tmp_path: Path) -> None:
    import torch
    from torch import nn

    from export import ImageSpec, export

    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.Unflatten(1, (5, 1, 1)),
        nn.ConvTranspose2d(5, 8, (2, 3), bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 8, 1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest-exact"),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    image = ImageSpec(height=16, width=24, channels=3)
    folder = export(decode=decoder, latent=(5,), image=image, name="matched", out=tmp_path)
    artifact = read_artifact(folder)
    spec = artifact.manifest.graphs["decode"].spec()
    model = check_graph(artifact.files[spec.file], spec)
    assert forms(model) == FORMS
    subpixel = check_graph(rewrite(model, "subpixel").SerializeToString(), spec)
    assert "ConvTranspose" not in ops(subpixel)
    assert ops(subpixel).count("Resize") == 1  # the one behind the 1x1 convolution
    (first,), (second,) = images_of(model, spec), images_of(subpixel, spec)
    assert first.std() > 5
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1


def test_importing_rewrites_imports_no_onnx() -> None:
    code = "import sys, runtime, runtime.engines.rewrites; sys.exit('onnx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
