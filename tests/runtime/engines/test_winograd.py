"""Winograd's products compute what the convolution computes, and only where that is faster."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact.reading import read_artifact
from runtime.engines import winograd
from runtime.engines.backend import Setting, Variant
from runtime.engines.editing import Known
from runtime.engines.onnxruntime import OnnxRuntimeBackend
from runtime.engines.rewrites import forms, rewrite

# Outputs have a standard deviation of 1. At the points 2 and -2 the transforms take differences of
# values 8 times as large: 8e-5 at most was seen on convolutions of 512 channels.
TOLERANCE = 1e-4
SCALES = np.array([1, 1, 2, 2], np.float32)

Weights = dict[str, NDArray[Any]]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def model_of(
    nodes: list[onnx.NodeProto], weights: Weights, image: tuple[int | str, ...], channels: int
) -> onnx.ModelProto:
    """Nodes from "x" [B, *image] to "y" [B, channels, height, width]."""
    sides = ["batch", channels, "out_height", "out_width"]
    proto = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *image])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sides)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def layer(
    kind: str, channels: tuple[int, int], image: tuple[int | str, ...], **attributes: Any
) -> onnx.ModelProto:
    """One layer with a bias and a Relu: a convolution, one of doubled pixels, or a transposed."""
    into, out = channels
    op, kernel = ("ConvTranspose", (into, out, 4, 4)) if kind == "transposed" else ("Conv", None)
    shape = kernel or (out, into, 3, 3)
    more: dict[str, Any] = {"pads": [1] * 4, **({"strides": [2, 2]} if kernel else {})} | attributes
    group = attributes.get("group", 1)
    if group > 1:
        shape = (out, into // group, 3, 3)
    taps = into // group * (4 if kind == "transposed" else 9)
    weights = {"w": normal(*shape) / np.float32(taps**0.5), "b": normal(out, seed=1)}
    nodes = [
        helper.make_node(op, ["up" if kind == "doubled" else "x", "w", "b"], ["z"], **more),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    if kind == "doubled":
        modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        resize = helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="nearest", **modes)
        nodes.insert(0, resize)
        weights["scales"] = SCALES
    return model_of(nodes, weights, (into, *image), out)


def run(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": images})[0]  # pyright: ignore[reportReturnType]


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are replaced even where that is slower, as it is with few channels."""
    monkeypatch.setattr(winograd, "_GAIN", 0.0)


KINDS = ("plain", "doubled", "transposed")


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_fixed", [True, False])
@pytest.mark.parametrize(
    ("image", "batch", "images", "strips"),
    [
        ((8, 8), 2, 1, 1),
        ((5, 7), 1, 64, 1),
        ((13, 6), 3, 300, 4),
        ((1, 1), 2, 1, 1),
        ((32, 20), 1, 30, 5),
    ],
)
def test_a_layer_is_computed_alike(
    kind: str, is_fixed: bool, image: tuple[int, int], batch: int, images: int, strips: int
) -> None:
    """Sides that are no multiples of 4, channels that are none of 8, whole images and strips, sizes
    that are known and sizes that are not."""
    channels = (6, 11)
    model = layer(kind, channels, image if is_fixed else ("height", "width"))
    sizes = {"x": (1, channels[0], *image)}
    rewritten = rewrite(model, "winograd", Known(images, smallest=sizes, usual=sizes))
    assert ops(rewritten).count("Conv") == strips
    assert ops(rewritten).count("MatMul") == 2 * strips
    pixels = normal(batch, channels[0], *image, seed=2)
    expected = run(model, pixels)
    assert expected.std() > 0.3
    np.testing.assert_allclose(run(rewritten, pixels), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("kind", "channels"), [("plain", (512, 256)), ("transposed", (512, 256))])
def test_many_channels_keep_to_the_tolerance(kind: str, channels: tuple[int, int]) -> None:
    model = layer(kind, channels, (8, 12))
    rewritten = rewrite(model, "winograd")
    assert forms(model) == ("plain", *(["subpixel"] if kind == "transposed" else []), "winograd")
    assert "MatMul" in ops(rewritten)
    pixels = normal(2, channels[0], 8, 12, seed=2)
    np.testing.assert_allclose(run(rewritten, pixels), run(model, pixels), rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    "model",
    [
        layer("plain", (6, 8), (8, 8), strides=[2, 2]),
        layer("plain", (6, 8), (8, 8), group=2),
        layer("plain", (6, 8), (8, 8), dilations=[2, 2], pads=[2] * 4),
        layer("plain", (6, 8), (8, 8), pads=[0] * 4),
        layer("plain", (6, 8), (8, 8), pads=[0, 0, 2, 2]),
        layer("transposed", (6, 8), (8, 8), strides=[3, 3]),
        layer("transposed", (6, 8), (8, 8), output_padding=[1, 1]),
    ],
)
def test_other_convolutions_are_left_alone(model: onnx.ModelProto) -> None:
    assert "winograd" not in forms(model)
    assert rewrite(model, "winograd") == model


@pytest.mark.parametrize("kind", KINDS)
def test_few_channels_are_left_alone(kind: str) -> None:
    assert "winograd" not in forms(layer(kind, (32, 32), (16, 16)))


def test_small_sides_and_few_columns_are_left_alone() -> None:
    """A tile of which a quarter is image wastes the rest; kernels read for one column cost more
    than they save."""
    assert "winograd" in forms(layer("plain", (256, 256), (8, 8)))
    assert "winograd" not in forms(layer("plain", (256, 256), (2, 2)))
    model = layer("plain", (256, 256), (4, 4))
    assert "winograd" in forms(model, Known(64))
    assert "winograd" not in forms(model, Known(1))


def test_kernels_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    model = layer("plain", (256, 256), (8, 8))
    monkeypatch.setattr(winograd, "_MAX_BYTES", 36 * 256 * 256 * 4 - 1)
    assert "winograd" not in forms(model)


def test_large_layers_run_on_few_images_and_small_ones_on_many() -> None:
    large = winograd.known_of(layer("plain", (256, 256), (32, 32)), {}, {})
    small = winograd.known_of(layer("plain", (256, 256), (8, 8)), {}, {})
    assert 1 <= large.images < small.images
    # One image has 64 columns in the large layer, and 4 in the small one.
    assert large.fewest == 1
    assert small.fewest > 1
    # Sizes that the graph leaves open are the usual ones.
    open_sizes = layer("plain", (256, 256), ("height", "width"))
    usual = {"x": (1, 256, 32, 32)}
    assert winograd.known_of(open_sizes, usual, usual).images == large.images


def test_runs_of_few_images_need_no_other_form_where_no_layer_is_taken() -> None:
    """Else an encoder of few channels would be opened twice, beside a decoder of many."""
    for channels in ((32, 32), (64, 3)):
        assert winograd.known_of(layer("plain", channels, (16, 16)), {}, {}).fewest == 1


def test_a_last_convolution_is_a_transposed_one() -> None:
    model = layer("plain", (64, 3), (9, 10))
    rewritten = rewrite(model, "winograd")
    assert ops(rewritten) == ["ConvTranspose", "Relu"]
    pixels = normal(2, 64, 9, 10, seed=2)
    np.testing.assert_allclose(run(rewritten, pixels), run(model, pixels), rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported generator: a dense layer, 4x4 pixels of 192 channels, doubled, a residual."""
    import torch
    from torch import nn

    from export import ImageSpec, export

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(192, 192, 3, padding=1)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden + self.convolution(torch.relu(hidden))

    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.Linear(8, 192 * 16),
        nn.Unflatten(1, (192, 4, 4)),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(192, 192, 3, padding=1),
        Residual(),
        nn.ReLU(),
        nn.Conv2d(192, 3, 3, padding=1),
        nn.Tanh(),
    )
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=(module.weight[0].numel() / 2) ** -0.5)
    image = ImageSpec(height=8, width=8, channels=3)
    return export(
        decode=decoder,
        latent=(8,),
        image=image,
        name="many-channels",
        out=tmp_path_factory.mktemp("artifacts"),
    )


def test_a_network_gives_the_same_grey_levels_in_runs_of_any_length(network: Path) -> None:
    artifact = read_artifact(network)
    setting = Setting(1, 1, 64)
    backends = [
        OnnxRuntimeBackend(artifact, Variant("onnxruntime", "fp32", form), setting)
        for form in ("plain", "winograd")
    ]
    # More images than one run has, and too few for this form.
    for count in (1, 3, 64, 130):
        latents = normal(count, 8, seed=count)
        plain, other = (backend.run("decode", {"latents": latents}) for backend in backends)
        assert other["images"].shape == (count, 8, 8, 3)
        assert plain["images"].std() > 30
        assert np.abs(plain["images"].astype(int) - other["images"]).max() <= 1
    out = {"images": np.empty((130, 8, 8, 3), np.uint8)}
    given = {"latents": normal(130, 8, seed=130)}
    assert backends[1].run("decode", given, out)["images"] is out["images"]
    np.testing.assert_array_equal(out["images"], other["images"])


def test_onnx_runtime_may_choose_it(network: Path, tmp_path: Path) -> None:
    from runtime.engines.library import EngineRequest
    from runtime.engines.registry import candidates

    found = candidates(read_artifact(network), EngineRequest("auto", "fp32", "cpu"), tmp_path)
    chosen = {variant.engine for variant in found if variant.form == "winograd"}
    assert chosen == {"onnxruntime"}
