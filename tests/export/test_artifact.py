"""What an export writes: a folder that `runtime.load` takes, and that gives the module's images."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import runtime
from export import ImageSpec, export
from runtime.artifact.reading import read_artifact
from runtime.images import to_float, to_uint8

pytestmark = pytest.mark.xdist_group("exported")


def test_images_are_those_of_the_torch_module(
    exported: Path, decoder: nn.Module, image: ImageSpec
) -> None:
    reference = copy.deepcopy(decoder).eval()
    with runtime.load(exported) as model:
        latents = model.latents(37, seed=11)
        images = model.decode(latents)
    with torch.inference_mode():
        floats = reference(torch.from_numpy(latents)).permute(0, 2, 3, 1).numpy()
    expected = to_uint8(floats, image)
    # One grey level: float32 sums in another order can fall on the other side of a half.
    assert np.abs(images.astype(int) - expected).max() <= 1
    assert images.std() > 5


def test_posteriors_are_those_of_the_torch_module(
    exported: Path, encoder: nn.Module, image: ImageSpec
) -> None:
    reference = copy.deepcopy(encoder).eval()
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    with runtime.load(exported) as model:
        posterior = model.encode(images)
    floats = np.ascontiguousarray(to_float(images, image).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        mean, log_variance = reference(torch.from_numpy(floats))
    # Outputs of order 1: float32 sums in another order differ by about 1e-6.
    np.testing.assert_allclose(posterior.mean, mean.numpy(), atol=1e-4)
    np.testing.assert_allclose(posterior.log_variance, log_variance.numpy(), atol=1e-4)


def test_labels_reach_both_graphs(conditional: Path) -> None:
    with runtime.load(conditional) as model:
        circles = model.sample(4, seed=0, labels="circle")
        stars = model.sample(4, seed=0, labels="star")
        assert np.abs(circles.astype(int) - stars).max() > 1
        as_circle = model.encode(circles, labels="circle").mean
        assert np.abs(as_circle - model.encode(circles, labels="star").mean).max() > 1e-3


def test_batch_norm_is_folded_and_no_norm_is_computed(exported: Path) -> None:
    graph = onnx.load(exported / "decode.onnx").graph
    assert [node.op_type for node in graph.node if "Conv" in node.op_type] == [
        "ConvTranspose",
        "Conv",
    ]
    operators = {node.op_type for node in graph.node}
    # Spectral norm would show as a division or a product by 1 / sigma, dropout as itself.
    assert not operators & {"BatchNormalization", "Dropout", "Div", "MatMul", "ReduceSum"}
    assert sum("original" in tensor.name for tensor in graph.initializer) == 0


def test_parity_is_measured_at_one_three_and_the_largest_batch(exported: Path) -> None:
    decode, encode = read_artifact(exported).manifest.parity
    assert decode.graph == "decode"
    assert decode.batches == (1, 3, 16)
    assert decode.max_difference <= 1
    assert decode.images_std is not None
    assert decode.images_std > 5
    assert encode.graph == "encode"
    assert encode.max_difference <= 1e-3
    assert encode.images_std is None


def test_the_card_shows_the_figures_and_the_sheet(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    manifest = read_artifact(exported).manifest
    assert "# shapes, version 1" in card
    assert "![Samples of seed 0](samples.png)" in card
    assert "CC0-1.0" in card
    assert f"{manifest.parity[0].images_std:.1f}" in card
    assert f"| torch version | {torch.__version__} |" in card
    with runtime.load(exported) as model:
        first = model.sample(1, seed=0)[0]
    sheet = np.asarray(Image.open(exported / "samples.png"))
    assert np.abs(sheet[:16, :16].astype(int) - first).max() <= 1


def test_no_path_of_this_machine_is_inside(exported: Path, conditional: Path) -> None:
    root = Path(__file__).parents[2]
    private = [str(root), str(Path.home()), str(exported.parents[1]), "site-packages", ".py"]
    for file in [*exported.iterdir(), *conditional.iterdir()]:
        data = file.read_bytes()
        assert [text for text in private if text.encode() in data] == [], file.name


def test_the_same_module_gives_the_same_bytes(
    exported: Path, decoder: nn.Module, encoder: nn.Module, image: ImageSpec
) -> None:
    again = export(
        decode=decoder,
        encode=encoder,
        latent=(4, 8, 8),
        image=image,
        name="shapes",
        out=exported.parents[1],
        batches=(1, 16),
        licence="CC0-1.0",
    )
    assert again.name == "2"  # the next free version
    for file in ("decode.onnx", "encode.onnx", "golden.npz", "samples.png"):
        assert (again / file).read_bytes() == (exported / file).read_bytes(), file
