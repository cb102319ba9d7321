"""Decoders in reduced precision: the graphs, their arithmetic, and who is left out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from export import ImageSpec, export
from export.arguments import precisions
from export.precision import LEVELS, emulate, reduce_precision, with_levels
from export.variants import add_variants, chosen_precisions, with_variants
from runtime import load
from runtime.artifact.graph import check_graph
from runtime.artifact.manifest import REDUCED, Reduced
from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines.nvidia.devices import gpus
from runtime.errors import ExportError, InputError
from runtime.requests.sample import Sample
from tests.export.conftest import ConditionalDecoder

pytestmark = pytest.mark.xdist_group("precision")

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
each_precision = pytest.mark.parametrize("precision", REDUCED)


class Upsampling(nn.Module):
    """What a converter meets: Resize with its float32 scales, constants, casts, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = z
        for layer in (self.first, self.second):
            x = nn.functional.interpolate(layer(x).relu(), scale_factor=2)
        x = x + torch.full_like(x, 0.25) * x.to(torch.float32).mean((2, 3), keepdim=True)
        return (self.last(x) * 0.3).tanh()


def upsampling(gain: float = 1.0) -> Upsampling:
    torch.manual_seed(0)
    module = Upsampling()
    with torch.no_grad():
        module.first.weight *= gain
        module.second.weight /= gain
    return module


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = export(
        decode=upsampling(),
        latent=(2, 4, 4),
        image=ImageSpec(height=32, width=32, channels=3),
        name="upsampling",
        out=tmp_path_factory.mktemp("artifacts"),
        batches=(1, 64),
        precisions=(),
    )
    return read_artifact(folder)


def run(data: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))  # pyright: ignore


@each_precision
def test_every_inner_float_is_reduced(plain: Artifact, precision: Reduced) -> None:
    data = reduce_precision(plain.files["decode.onnx"], precision)
    spec = plain.manifest.graphs["decode"].spec()
    model = check_graph(data, spec)  # the same border, and valid
    assert ("ConvTranspose" in {node.op_type for node in model.graph.node}) == (precision == "fp16")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
    types |= {t.name: t.data_type for t in inferred.initializer}
    for node in inferred.node:
        if node.op_type in ("Conv", "ConvTranspose", "Add", "Tanh", "Relu", "ReduceMean"):
            floats = {types[name] for name in (*node.input, *node.output) if types[name] != 7}
            assert floats == {TYPES[precision]}, node
        if node.op_type == "Round":
            assert types[node.output[0]] == TensorProto.FLOAT
    # Nothing is kept twice: the file is about half as large.
    assert len(data) < 0.75 * len(plain.files["decode.onnx"]) or precision == "bf16"


@each_precision
def test_the_emulated_arithmetic_rounds(plain: Artifact, precision: Reduced) -> None:
    inputs = Sample(32, seed=0).inputs(plain)
    exact = run(with_levels(plain.files["decode.onnx"]), inputs)[LEVELS]
    data = reduce_precision(plain.files["decode.onnx"], precision)
    rounded = run(with_levels(emulate(data, precision)), inputs)[LEVELS]
    error = np.abs(rounded - exact).mean()
    # 11 and 8 bits of mantissa on levels up to 255.
    unit = 128 * 2.0 ** {"fp16": -11, "bf16": -8}[precision]
    assert 0.02 * unit < error < 2 * unit


def test_onnx_runtime_runs_fp16_as_the_emulation_does(plain: Artifact) -> None:
    inputs = Sample(32, seed=0).inputs(plain)
    data = reduce_precision(plain.files["decode.onnx"], "fp16")
    real, emulated = run(data, inputs)["images"], run(emulate(data, "fp16"), inputs)["images"]
    assert np.abs(real.astype(int) - emulated).max() <= 1


def test_variants_stand_beside_fp32(plain: Artifact, tmp_path: Path) -> None:
    made = with_variants(plain, REDUCED, images=256)
    assert list(made.manifest.graphs["decode"].files) == ["fp32", "fp16", "bf16"]
    assert made.manifest.left_out == {}
    rows = made.manifest.parity[-2:]
    assert [(row.precision, row.images) for row in rows] == [("fp16", 256), ("bf16", 256)]
    assert rows[0].mean_difference < rows[1].mean_difference <= 0.5
    assert {"decode.fp16.onnx", "decode.bf16.onnx"} <= made.files.keys()


def test_values_beyond_fp16_leave_it_out(plain: Artifact, tmp_path: Path) -> None:
    # The same function: 10^6 between the layers overflows fp16, and not bf16.
    folder = export(
        decode=upsampling(1e6),
        latent=(2, 4, 4),
        image=plain.manifest.image(),
        name="loud",
        precisions=REDUCED,
        out=tmp_path,
        batches=(1, 64),
    )
    manifest = read_artifact(folder).manifest
    assert list(manifest.graphs["decode"].files) == ["fp32", "bf16"]
    assert manifest.left_out == {"fp16": "NaN or infinity: values beyond what fp16 can hold"}
    assert "| fp16 | NaN or infinity" in (folder / "README.md").read_text()


def test_images_too_far_off_leave_it_out(plain: Artifact) -> None:
    class Cancelling(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            # What is left after this subtraction is what rounding left.
            return ((z.mean((1, 2, 3), keepdim=True) + 300) - 300).tanh().expand(-1, 3, 32, 32)

    folder = export(
        decode=Cancelling(),
        latent=(2, 4, 4),
        image=plain.manifest.image(),
        name="cancelling",
        precisions=REDUCED,
        out=plain.folder.parent.parent,
        batches=(1, 64),
    )
    manifest = read_artifact(folder).manifest
    assert list(manifest.graphs["decode"].files) == ["fp32"]
    assert set(manifest.left_out) == {"fp16", "bf16"}
    assert "grey levels on average" in manifest.left_out["fp16"]
    assert "over 10000 latents" in manifest.left_out["fp16"]


def test_a_graph_without_arithmetic_is_left_as_it_is(plain: Artifact) -> None:
    class Bare(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.reshape(-1, 2, 4, 4)[:, :1]

    folder = export(
        decode=nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 4, 8))),
        latent=(2, 4, 4),
        image=ImageSpec(height=4, width=8, channels=1, value_range=(-4.0, 4.0)),
        name="bare",
        precisions=REDUCED,
        out=plain.folder.parent.parent,
    )
    left_out = read_artifact(folder).manifest.left_out
    assert left_out["fp16"] == "there is no arithmetic between latents and images to reduce"


def test_an_artifact_gets_variants_as_its_next_version(plain: Artifact) -> None:
    folder = add_variants(plain.folder, ("fp16",), images=64)
    assert folder == plain.folder.parent / "2"
    read = read_artifact(folder)
    assert list(read.manifest.graphs["decode"].files.values()) == [
        "decode.onnx",
        "decode.fp16.onnx",
    ]
    assert read.files["decode.onnx"] == plain.files["decode.onnx"]
    again = read_artifact(add_variants(folder, ("bf16",), images=64))
    assert list(again.manifest.graphs["decode"].files) == ["fp32", "bf16"]
    assert "decode.fp16.onnx" not in again.files
    assert [row.precision for row in again.manifest.parity] == ["fp32", "bf16"]


def test_without_being_asked_only_a_gpu_brings_them() -> None:
    assert chosen_precisions("auto") == (REDUCED if gpus() else ())
    assert chosen_precisions(("bf16",)) == ("bf16",)
    assert precisions("auto") == "auto"


def test_labels_pass_through(tmp_path: Path) -> None:
    torch.manual_seed(2)
    folder = export(
        decode=ConditionalDecoder(),
        latent=5,
        image=ImageSpec(height=6, width=8, channels=1, value_range=(0.0, 1.0)),
        labels=("a", "b", "c"),
        name="labelled",
        precisions=REDUCED,
        out=tmp_path,
    )
    precisions = list(read_artifact(folder).manifest.graphs["decode"].files)
    assert "fp16" in precisions
    with load(folder, precision="fp16", device="cpu") as model, load(folder) as reference:
        assert "fp16" in model.engine
        found, expected = model.sample(64, seed=0), reference.sample(64, seed=0)
        assert np.abs(found.astype(int) - expected).max() <= 4
    with pytest.raises(InputError, match="precision: expected one that runs here"):
        load(folder, precision="bf16", backend="onnxruntime", device="cpu")


def test_levels_are_found_before_the_border_only(plain: Artifact) -> None:
    data = with_levels(plain.files["decode.onnx"])
    outputs = run(data, Sample(4, seed=1).inputs(plain))
    levels = outputs[LEVELS].transpose(0, 2, 3, 1)
    assert np.array_equal(np.clip(np.round(levels), 0, 255).astype(np.uint8), outputs["images"])
    model = onnx.load_model_from_string(plain.files["decode.onnx"])
    for node in model.graph.node:
        if node.op_type == "Round":
            node.op_type = "Floor"
    with pytest.raises(ExportError, match="expected a Round"):
        with_levels(model.SerializeToString())
