"""`python -m export onnx`: files of Keras and of onnx itself, and an export without torch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import runtime
from tests.onnx_files import NHWC, export, levels, same, write

ROOT = Path(__file__).parents[2]


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
    assert done.stderr.endswith(": run pip install '.[export]' in a checkout of latentserve\n")


def without_torch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m export` where nothing of the extra `export` can be imported."""
    absent = ("torch", "cryptography", "onnxscript", "safetensors", "sklearn")
    script = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); import export.__main__ as m; m.main()"
    )
    command = [sys.executable, "-W", "error", "-c", script, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


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
