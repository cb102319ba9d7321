"""`python -m export onnx`: ONNX files as Keras, JAX or a colleague leave them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

import runtime
from export.__main__ import main
from runtime.artifact.reading import Artifact, read_artifact

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str, opset: int = 20, **shapes: Sequence[int]) -> Path:
    """The file of a graph in ONNX's text form, with seeded weights of these shapes."""
    model = parsed(text, opset, **shapes)
    path.write_bytes(model.SerializeToString())
    return path


def parsed(text: str, opset: int = 20, **shapes: Sequence[int]) -> ModelProto:
    opsets = f'"": {opset}, "com.microsoft": 1'
    model = onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{opsets}]> {text}")
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        weights = generator.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    return model


def export(folder: Path, *words: str | Path, batches: str = "1,4") -> Artifact:
    given = ["onnx", *map(str, words), "--name", "theirs", "--batches", batches]
    assert main([*given, "--out", str(folder)]) == 0
    versions = sorted((folder / "theirs").iterdir(), key=lambda path: int(path.name))
    return read_artifact(versions[-1])


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: str | Path) -> str:
    """The error of an export that writes nothing."""
    out = folder / "refused"
    given = ["onnx", *map(str, words), "--name", "theirs", "--batches", "1,4", "--out", str(out)]
    capsys.readouterr()
    assert main(given) == 2
    assert not out.exists()
    return capsys.readouterr().err


def run(graph: Path | bytes, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    given = str(graph) if isinstance(graph, Path) else graph
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, dict(inputs))]


def levels(floats: NDArray[Any], low: float = -1.0, high: float = 1.0) -> NDArray[Any]:
    """What images [B, H, W, C] in this range are, in exact arithmetic."""
    return np.clip(np.round((floats.astype(np.float64) - low) * 255 / (high - low)), 0, 255)


def same(images: NDArray[Any], expected: NDArray[Any]) -> bool:
    return (
        images.shape == expected.shape
        and expected.std() > 5  # flat images would prove nothing
        and np.abs(images.astype(int) - expected).max() <= 1
    )


def latents_of(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(8).integers(0, 256, shape, np.uint8)


NHWC = """
    net (float[batch, 6] z) => (float[batch, 4, 5, 3] images) {
        flat = MatMul(z, w)
        shape = Constant<value_ints = [-1, 4, 5, 3]>()
        rows = Reshape(flat, shape)
        images = Tanh(rows)
    }"""


def test_a_decoder_with_channels_last(tmp_path: Path) -> None:
    path = write(tmp_path / "nhwc.onnx", NHWC, w=(6, 60))
    artifact = export(tmp_path, path)
    manifest = artifact.manifest
    assert manifest.image().shape == (4, 5, 3)
    (parity,) = manifest.parity
    assert parity.reference == "the given file as ONNX Runtime runs it"
    card = artifact.files["README.md"].decode()
    assert "Compared with: the given file as ONNX Runtime runs it." in card
    assert manifest.provenance.details["decode opset"] == 20
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as model:
        assert same(model.decode(z), levels(run(path, {"z": z})[0]))


def test_without_torch(tmp_path: Path) -> None:
    write(tmp_path / "nhwc.onnx", NHWC, w=(6, 60))
    done = without_torch(tmp_path, "onnx", "nhwc.onnx", "--name", "theirs", "--batches", "1,4")
    assert done.stdout.startswith("artifacts/theirs/1\n"), done.stderr
    assert "differs from the given file as ONNX Runtime runs it by at most 0" in done.stdout
    # A module needs it, and the error says what to install.
    words = ["export.sources:Network", "--name", "a", "--weights", "w", "--image", "2x2x3"]
    done = without_torch(tmp_path, "module", *words)
    assert done.stderr.startswith("ExportError: ")
    assert "torch" in done.stderr
    assert done.stderr.endswith(": install latentserve[export]\n")


def without_torch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m export` where nothing of the extra `export` can be imported."""
    absent = ("torch", "cryptography", "onnxscript", "safetensors", "sklearn")
    script = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); import export.__main__ as m; m.main()"
    )
    command = [sys.executable, "-W", "error", "-c", script, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


TRANSLATOR = """
    net (float[n, 3, h, w] x) => (float[n, 3, h, w] y) {
        blurred = Conv<pads = [1, 1, 1, 1]>(x, kernel)
        dropped = Dropout(blurred)
        mean = ReduceMean<axes = [2, 3]>(dropped)
        centred = Sub(dropped, mean)
        y = Sigmoid(centred)
    }"""


def test_a_translator_of_opset_13_with_free_sides_and_normalised_images(tmp_path: Path) -> None:
    path = write(tmp_path / "13.onnx", TRANSLATOR, 13, kernel=(3, 3, 3, 3))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    artifact = export(
        tmp_path, path, "--translates", "--image", "16x24x3",
        "--size", "8..64/4",
        "--mean", *map(str, mean), "--std", *map(str, std),
    )  # fmt: skip
    model = onnx.load_model_from_string(artifact.files["translate.onnx"])
    assert [entry.version for entry in model.opset_import] == [18]
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        for side in (16, 40):
            images = pictures(3, side, 24, 3)
            normalised = (images / 255 - mean) / std
            floats = run(path, {"x": normalised.transpose(0, 3, 1, 2).astype(np.float32)})[0]
            expected = levels(floats.transpose(0, 2, 3, 1), 0, 1)
            assert same(served.translate(images), expected)


ENCODER = """
    net (float[b, 1, 4, 4] picture) => (float[b, 2] drawn, float[b, 2] v, float[b, 2] m) {
        flat = Flatten(picture)
        m = MatMul(flat, to_mean)
        v = MatMul(flat, to_variance)
        noise = RandomNormalLike(m)
        drawn = Add(m, noise)
    }"""
GREY = """
    net (float[b, 2] z) => (float[b, 1, 4, 4] picture) {
        flat = MatMul(z, w)
        shape = Constant<value_ints = [-1, 1, 4, 4]>()
        rows = Reshape(flat, shape)
        picture = Tanh(rows)
    }"""


def test_a_decoder_with_an_encoder_of_which_two_outputs_are_meant(tmp_path: Path) -> None:
    """Keras' VAEs give a draw as well: chosen outputs leave its random operator out."""
    decoder = write(tmp_path / "decoder.onnx", GREY, w=(2, 16))
    encoder = write(
        tmp_path / "encoder.onnx", ENCODER, to_mean=(16, 2), to_variance=(16, 2), unused=(999, 9)
    )
    artifact = export(tmp_path, decoder, "--encoder", encoder, "--encoder-output", "m,v")
    assert b"Random" not in artifact.files["encode.onnx"]
    assert len(artifact.files["encode.onnx"]) < 9999
    images = pictures(3, 4, 4, 1)
    floats = (images / 127.5 - 1).transpose(0, 3, 1, 2).astype(np.float32)
    _, v, m = run(encoder, {"picture": floats})
    with runtime.load(artifact.folder, backend="onnxruntime") as model:
        posterior = model.encode(images)
        assert isinstance(posterior, runtime.Posterior)
        np.testing.assert_allclose(posterior.mean, m, atol=1e-3)
        np.testing.assert_allclose(posterior.log_variance, np.clip(v, -30, 20), atol=1e-3)
        assert model.reconstruct(images).shape == images.shape


def test_an_encoder_alone_that_gives_latents_and_codes(tmp_path: Path) -> None:
    text = """
        net (uint8[1, 4, 4, 3] picture) => (double[1, 3] z, int32[1, 1] code) {
            exact = Cast<to = 11>(picture)
            scale = Constant<value = double {100.0}>()
            small = Div(exact, scale)
            axes = Constant<value_ints = [1, 2]>()
            z = ReduceMean<keepdims = 0>(small, axes)
            best = ArgMax<axis = 1>(z)
            code = Cast<to = 6>(best)
        }"""
    path = write(tmp_path / "codes.onnx", text)
    artifact = export(tmp_path, "--encoder", path, "--value-range", "0", "255")
    roles = [tensor.role for tensor in artifact.manifest.graphs["encode"].outputs]
    assert roles == ["latents", "codes"]
    images = pictures(5, 4, 4, 3)
    with runtime.load(artifact.folder, backend="onnxruntime") as model:
        encoding: Any = model.encode(images)
    means = images.astype(np.float64).mean((1, 2)) / 100
    np.testing.assert_allclose(encoding.latents, means, rtol=1e-5)
    np.testing.assert_array_equal(encoding.codes[:, 0], means.argmax(1))


CONDITIONED = """
    net (float[b, 4] noise_in, int32[b, 1] y, float[b, 1] psi, float[b, 4] z)
        => (float[b, 3, 2, 2] images) {
        zero = Constant<value_ints = [1]>()
        flat_y = Squeeze(y, zero)
        class = Gather(classes, flat_y)
        shrunk = Mul(z, psi)
        both = Add(shrunk, class)
        all = Add(both, noise_in)
        flat = MatMul(all, w)
        shape = Constant<value_ints = [-1, 3, 2, 2]>()
        rows = Reshape(flat, shape)
        images = Tanh(rows)
    }"""


def test_labels_truncation_and_noise(tmp_path: Path) -> None:
    path = write(tmp_path / "all.onnx", CONDITIONED, classes=(3, 4), w=(4, 12))
    artifact = export(
        tmp_path, path, "--labels", "a,b,c", "--truncation", "psi", "--noise", "noise_in"
    )
    manifest = artifact.manifest
    roles = [tensor.role for tensor in manifest.graphs["decode"].inputs]
    assert roles == ["latents", "labels", "truncation", "noise"]
    z, noise = latents_of(5, 4), latents_of(10, 4)[5:]
    psi, labels = np.linspace(0.1, 1, 5, dtype=np.float32), np.array([0, 1, 2, 1, 0])
    ours = {"latents": z, "labels": labels, "truncation": psi, "noise_0": noise}
    made = run(artifact.files["decode.onnx"], ours)[0]
    theirs = {"y": labels[:, None].astype(np.int32), "psi": psi[:, None], "z": z}
    expected = run(path, {**theirs, "noise_in": noise})[0].transpose(0, 2, 3, 1)
    assert same(made, levels(expected))
    with runtime.load(artifact.folder) as model:
        assert model.sample(2, seed=1, labels=["a", "c"]).shape == (2, 2, 2, 3)


def test_a_translator_with_a_mask(tmp_path: Path) -> None:
    text = """
        net (float[b, h, w, 3] x, float[b, h, w, 1] hole) => (float[b, h, w, 3] y) {
            one = Constant<value = float {1.0}>()
            kept = Sub(one, hole)
            y = Mul(x, kept)
        }"""
    path = write(tmp_path / "mask.onnx", text)
    artifact = export(tmp_path, path, "--translates", "--mask", "hole", "--image", "4x4x3")
    images, mask = pictures(2, 4, 4, 3), pictures(2, 4, 4, 1) // 128 * 255
    made = run(artifact.files["translate.onnx"], {"images": images, "mask": mask})[0]
    assert same(made, np.where(mask, 127.5, images).astype(int))


def test_half_precision_inside(tmp_path: Path) -> None:
    model = parsed(NHWC.replace("float[", "float16["), w=(6, 60))
    weights = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float16)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    path = tmp_path / "half.onnx"
    path.write_bytes(model.SerializeToString())
    artifact = export(tmp_path, path)
    assert artifact.manifest.graphs["decode"].inputs[0].dtype == "float32"
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), levels(run(path, {"z": z.astype(np.float16)})[0]))


@pytest.mark.parametrize("mode", ["initializer", "node"])
def test_dropout_that_is_off_does_nothing(mode: str, tmp_path: Path) -> None:
    off = "off = Constant<value = bool {0}>()" if mode == "node" else ""
    dropout = f"ratio = Constant<value = float {{0.5}}>() {off} rows = Dropout(all, ratio, off)"
    text = NHWC.replace("rows = Reshape", "all = Reshape").replace(
        "images =", f"{dropout} images ="
    )
    model = parsed(text, w=(6, 60))
    if mode == "initializer":
        model.graph.initializer.append(numpy_helper.from_array(np.array(False), "off"))
    path = tmp_path / "dropout.onnx"
    path.write_bytes(model.SerializeToString())
    artifact = export(tmp_path, path)
    assert b"Dropout" not in artifact.files["decode.onnx"]
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), levels(run(path, {"z": z})[0]))


FIXED = """
    net (float[1, 8] z) => (float[1, 3, 2, 2] images) {
        flat = MatMul(z, w)
        shape = Constant<value_ints = [1, 3, 2, 2]>()
        rows = Reshape(flat, shape)
        bias_shape = Constant<value_ints = [1, 3, 1, 1]>()
        bias = Reshape(b, bias_shape)
        biased = Add(rows, bias)
        images = Tanh(biased)
    }"""


@pytest.mark.parametrize("shape", ["[1, 3, 2, 2]", "[1, -1, 2, 2]"])
def test_a_batch_of_one_is_freed(shape: str, tmp_path: Path) -> None:
    text = FIXED.replace("[1, 3, 2, 2]>", f"{shape}>")
    path = write(tmp_path / "fixed.onnx", text, w=(8, 12), b=(3,))
    artifact = export(tmp_path, path)
    z = latents_of(5, 8)
    alone = np.concatenate([run(path, {"z": row[None]})[0] for row in z])
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as model:
        assert same(model.decode(z), levels(alone.transpose(0, 2, 3, 1)))


def test_a_batch_that_cannot_be_freed_names_the_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = FIXED.replace("flat = MatMul(z, w)", """
        tall = Constant<value_ints = [8, 1]>()
        column = Reshape(z, tall)
        turned = Transpose(column)
        flat = MatMul(turned, w)""")  # fmt: skip
    path = write(tmp_path / "merged.onnx", merged, w=(8, 12), b=(3,))
    error = refused(capsys, tmp_path, path)
    assert "Reshape 'column' keeps the batch that the file was written for" in error
    assert "dynamic_shapes" in error
    sliced = FIXED.replace("images = Tanh(biased)", """
        last = Constant<value_ints = [-1]>()
        end = Constant<value_ints = [9]>()
        row = Slice(biased, last, end)
        images = Tanh(row)""")  # fmt: skip
    path = write(tmp_path / "sliced.onnx", sliced, w=(8, 12), b=(3,))
    assert "Slice 'row' keeps the batch" in refused(capsys, tmp_path, path)


def test_functions_other_files_and_notes(tmp_path: Path) -> None:
    """Local functions are inlined, weights from other files taken in, notes and paths left out."""
    text = """
        <ir_version: 8, opset_import: ["": 18, "theirs": 1], producer_name: "theirs 1.0">
        net (float[batch, 6] z) => (float[batch, 4, 5, 3] images) {
            flat = theirs.scaled(z, w)
            shape = Constant<value_ints = [-1, 4, 5, 3]>()
            rows = Reshape(flat, shape)
            images = Tanh(rows)
        }
        <domain: "theirs", opset_import: ["": 18]>
        scaled (a, b) => (c) { c = MatMul(a, b) }"""
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((6, 60)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    for part in (model, model.graph, model.graph.node[0]):
        part.doc_string = "written in /home/someone"
        part.metadata_props.add(key="path", value="/home/someone")
    path = tmp_path / "model.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=16
    )
    assert (tmp_path / "weights.bin").is_file()
    artifact = export(tmp_path, path)
    assert b"someone" not in artifact.files["decode.onnx"]
    assert artifact.manifest.provenance.details["decode written by"] == "theirs 1.0"
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), levels(run(path, {"z": z})[0]))


# Of the models that come with onnx itself: of opset 6 to 9, all with a fixed batch.
ONNX_DATA = {
    "PixelShuffle": ("decode", (9, 4, 4), (12, 12, 1)),
    "ConvTranspose2d": ("decode", (3, 7, 6), (20, 12, 4)),
    "ReflectionPad2d": ("translate", (8, 8, 3), (15, 11, 3)),
    "ConstantPad2d": ("translate", (4, 4, 3), (11, 7, 3)),
}


@pytest.mark.parametrize("name", ONNX_DATA)
def test_models_of_onnx(name: str, tmp_path: Path) -> None:
    data = Path(onnx.__file__).parent / "backend/test/data/pytorch-converted"
    path = data / f"test_{name}" / "model.onnx"
    graph, taken, given = ONNX_DATA[name]
    words = ["--translates"] if graph == "translate" else []
    artifact = export(tmp_path, path, "--value-range", "-2", "2", *words)
    spec = artifact.manifest.graphs[graph]
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == (taken, given)
    (parity,) = artifact.manifest.parity
    assert parity.max_difference <= 1
    assert parity.images_std is not None
    assert parity.images_std > 5


KERAS = """
import json, os, warnings
warnings.simplefilter("ignore")
from export import torchvision_operators
torchvision_operators.declare_operators()
import keras, numpy as np
from keras import layers

keras.utils.set_random_seed(0)
wide = keras.initializers.RandomNormal(stddev=0.3)
deconvolution = lambda n, k, s, a: layers.Conv2DTranspose(
    n, k, strides=s, padding="same", activation=a, kernel_initializer=wide)
# F. Chollet's VAE and DCGAN (https://keras.io/examples/generative/), at small width.
decoder = keras.Sequential([
    keras.Input((2,)), layers.Dense(7 * 7 * 8, activation="relu", kernel_initializer=wide),
    layers.Reshape((7, 7, 8)), deconvolution(8, 3, 2, "relu"), deconvolution(4, 3, 2, "relu"),
    deconvolution(1, 3, 1, "sigmoid")])
pictures = keras.Input((28, 28, 1))
x = layers.Conv2D(4, 3, activation="relu", strides=2, padding="same")(pictures)
x = layers.Conv2D(8, 3, activation="relu", strides=2, padding="same")(x)
x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
encoder = keras.Model(pictures, [layers.Dense(2)(x), layers.Dense(2)(x)])
generator = keras.Sequential([
    keras.Input((128,)), layers.Dense(8 * 8 * 8), layers.Reshape((8, 8, 8)),
    deconvolution(8, 4, 2, None), layers.LeakyReLU(negative_slope=0.2),
    deconvolution(16, 4, 2, None), layers.LeakyReLU(negative_slope=0.2),
    deconvolution(16, 4, 2, None), layers.LeakyReLU(negative_slope=0.2),
    layers.Conv2D(3, 5, padding="same", activation="sigmoid", kernel_initializer=wide)])
random = np.random.default_rng(3)
made = {"z": random.standard_normal((3, 2)), "x": random.integers(0, 256, (3, 28, 28, 1)),
        "g": random.standard_normal((3, 128))}
floats = {"z": made["z"], "x": made["x"] / 255, "g": made["g"]}
for name, model, given in (("decoder", decoder, "z"), ("encoder", encoder, "x"),
                           ("generator", generator, "g")):
    outputs = model(floats[given].astype("float32"))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    made |= {f"{name}_{i}": o.detach().numpy() for i, o in enumerate(outputs)}
    model.export(name + ".onnx", format="onnx", verbose=False)
np.savez("made.npz", **made)
"""


def test_keras(tmp_path: Path) -> None:
    """Against what Keras itself computes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch"}
    environment["KERAS_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", KERAS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "made.npz") as arrays:
        made = dict(arrays)
    vae = export(
        tmp_path, tmp_path / "decoder.onnx", "--encoder", tmp_path / "encoder.onnx",
        "--value-range", "0", "1",
    )  # fmt: skip
    assert vae.manifest.image().shape == (28, 28, 1)
    with runtime.load(vae.folder, backend="onnxruntime", precision="fp32") as model:
        images = model.decode(made["z"].astype(np.float32))
        assert same(images, levels(made["decoder_0"], 0, 1))
        posterior: Any = model.encode(made["x"].astype(np.uint8))
        np.testing.assert_allclose(posterior.mean, made["encoder_0"], atol=1e-3)
        np.testing.assert_allclose(posterior.log_variance, made["encoder_1"], atol=1e-3)
    gan = export(tmp_path, tmp_path / "generator.onnx", "--value-range", "0", "1")
    with runtime.load(gan.folder, backend="onnxruntime", precision="fp32") as model:
        images = model.decode(made["g"].astype(np.float32))
        assert same(images, levels(made["generator_0"], 0, 1))


REFUSED: dict[str, tuple[str, dict[str, Sequence[int]], list[str], str]] = {
    "random": (
        NHWC.replace("MatMul(z, w)", "MatMul(z, w) noise = RandomNormalLike(flat)").replace(
            "Reshape(flat,", "Reshape(noise,"
        ),
        {"w": (6, 60)},
        [],
        "operator RandomNormalLike is not among those .* make the noise an input of the file, and "
        "name it \\(--noise NAME\\)",
    ),
    "dropout of a training": (
        NHWC.replace(
            "images = Tanh(rows)",
            """half = Constant<value = float {0.5}>() on = Constant<value = bool {1}>()
            dropped = Dropout(rows, half, on)
            images = Tanh(dropped)""",
        ),
        {"w": (6, 60)},
        [],
        "operator Dropout is not among those",
    ),
    "contrib": (
        NHWC.replace("Tanh(rows)", "com.microsoft.QuickGelu(rows)").replace("net ", "net ", 1),
        {"w": (6, 60)},
        [],
        "operator com.microsoft::QuickGelu .* standard operators alone",
    ),
    "control flow": (
        NHWC.replace(
            "images = Tanh(rows)",
            """yes = Constant<value = bool {1}>()
            images = If (yes) <
                then_branch = a () => (float[n, 4, 5, 3] p) { p = Tanh(rows) },
                else_branch = b () => (float[n, 4, 5, 3] q) { q = Sigmoid(rows) }>""",
        ),
        {"w": (6, 60)},
        [],
        "operator If .* no control flow: .* fold them",
    ),
    "size by value": (
        NHWC.replace("rows = Reshape", "places = NonZero(flat) rows = Reshape").replace(
            "Reshape(flat,", "Reshape(places,"
        ),
        {"w": (6, 60)},
        [],
        "operator NonZero is not among those",
    ),
    "sequence": (
        """net (float[b, 2] z) => (seq(float[b, 2]) s) { s = SequenceConstruct(z, z) }""",
        {},
        [],
        "'s': expected a tensor, found a sequence: .* choose other outputs",
    ),
    "range": (
        NHWC.replace("Tanh(rows)", "Exp(rows)"),
        {"w": (6, 60)},
        [],
        "images: expected values in \\[-1, 1\\], found .* state the range",
    ),
    "half a range": (
        NHWC.replace("Tanh(rows)", "Sigmoid(rows)"),
        {"w": (6, 60)},
        [],
        "nothing darker than mid-grey: .* likely 0 to 1; .* \\(--any-range\\)",
    ),
    "flat images": (
        "net (float[b, 2] z) => (float[b, 12] images) { images = MatMul(z, w) }",
        {"w": (2, 12)},
        [],
        "expected images \\[B, C, H, W\\] or \\[B, H, W, C\\], found \\[B, 12\\]: end the file",
    ),
    "layout": (
        "net (float[b, 3, 3, 3] z) => (float[b, 3, 3, 3] images) { images = Tanh(z) }",
        {},
        [],
        "found \\[B, 3, 3, 3\\]: say which \\(--layout nchw or nhwc\\)",
    ),
    "two outputs": (
        "net (float[b, 2, 4, 4] z) => (float[b, 2, 4, 4] y, float[b, 2, 4, 4] u) "
        "{ y = Tanh(z) u = Relu(z) }",
        {},
        [],
        "expected outputs \\(images\\): choose them in this order \\(--output, .*; found",
    ),
    "two inputs": (
        "net (float[b, 1, 4, 4] z, float[b, 1, 4, 4] n) => (float[b, 1, 4, 4] y) { y = Add(z, n) }",
        {},
        [],
        "expected one input besides those that are named .* found inputs 'z' float .* 'n' float",
    ),
    "labels": (
        CONDITIONED,
        {"classes": (3, 4), "w": (4, 12)},
        ["--truncation", "psi", "--noise", "noise_in"],
        "one input of class indices where there are --labels",
    ),
    "no such input": (NHWC, {"w": (6, 60)}, ["--mask", "m"], "'m': expected one of the inputs"),
    "no such output": (
        NHWC,
        {"w": (6, 60)},
        ["--output", "y"],
        "expected one of the outputs .* found 'y'",
    ),
    "open latent": (
        NHWC.replace("[batch, 6]", "[batch, n]"),
        {"w": (6, 60)},
        [],
        "expected a fixed shape, found 'z' float .* state it \\(--latent",
    ),
    "another latent": (
        NHWC,
        {"w": (6, 60)},
        ["--latent", "7"],
        "latents: expected \\['B', 7\\] as the options say, found 'z' float",
    ),
    "another image": (
        NHWC,
        {"w": (6, 60)},
        ["--image", "4x4x3"],
        "images: expected \\['B', 4, 4, 3\\] as the options say, found 'images' float",
    ),
    "an axis that is fixed": (
        "net (float[b, 1, 4, 4] x) => (float[b, 1, 4, 4] y) { y = Tanh(x) }",
        {},
        ["--translates", "--image", "4x4x1", "--axis", "height=4:8:4"],
        "leave out --axis where the file's are fixed",
    ),
    "an axis without bounds": (NHWC, {"w": (6, 60)}, ["--latent", "side"], "expected --axis side="),
    "a batch of one inside": (
        NHWC.replace("[-1, 4, 5, 3]", "[1, 4, 5, 3]"),
        {"w": (6, 60)},
        [],
        "onnxruntime failed on z \\[16, 6\\]: .*Reshape.*: where a node wants another batch, write",
    ),
    "means of other channels": (
        "net (float[b, 3, 8, 8] x) => (float[b, 3, 8, 8] y) { y = Tanh(x) }",
        {},
        ["--translates", "--mean", "1", "2", "--std", "1", "2"],
        "expected a --mean for each of the 3 channels",
    ),
    "deviation without mean": (
        NHWC,
        {"w": (6, 60)},
        ["--std", "1"],
        "--mean, --std: expected a number a channel for both",
    ),
    "a size that depends on values": (
        NHWC.replace("rows = Reshape(flat, shape)", """
            sums = ReduceSum(z)
            none = Sub(sums, sums)
            whole = Cast<to = 7>(none)
            sized = Squeeze(whole)
            shaped = Add(shape, sized)
            rows = Reshape(flat, shaped)"""),
        {"w": (6, 60)},
        [],
        "the size of 'rows' \\(Reshape\\) is unknown before it is run",
    ),
    "rows that depend on others": (
        NHWC.replace("flat = MatMul(z, w)", "zero = Constant<value_ints = [0]>() "
                     "m = ReduceMax(z, zero) s = Sub(z, m) flat = MatMul(s, w)"),
        {"w": (6, 60)},
        [],
        "comes out differently alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, shapes, words, message = REFUSED[kind]
    path = write(tmp_path / "theirs.onnx", text, 20, **shapes)
    error = refused(capsys, tmp_path, path, *words)
    assert re.search(message, error), error
    assert "\n" not in error.strip()


def test_a_range_that_is_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "bright.onnx", NHWC.replace("Tanh", "Sigmoid"), w=(6, 60))
    artifact = export(tmp_path, path, "--any-range")
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as model:
        assert model.decode(latents_of(5, 6)).min() >= 127


def test_files_that_are_no_onnx_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.onnx: expected an ONNX file, found none" in refused(
        capsys, tmp_path, tmp_path / "missing.onnx"
    )
    for name, hint in {
        "model.keras": 'model.export("model.onnx", format="onnx")',
        "weights.pth": "python -m export module",
        "noise.onnx": "found something else",
    }.items():
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(range(256)))
        assert hint in refused(capsys, tmp_path, tmp_path / name)
    assert "expected an ONNX file, or --encoder" in refused(capsys, tmp_path)
    model = parsed(NHWC, w=(6, 60))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="w.bin", size_threshold=16)
    (tmp_path / "w.bin").unlink()
    assert "its data lies in other files, which cannot be read" in refused(capsys, tmp_path, path)
    path = write(tmp_path / "old.onnx", NHWC, 99, w=(6, 60))
    assert "expected opset 18 to 24, found 99" in refused(capsys, tmp_path, path)
