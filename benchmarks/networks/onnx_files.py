"""Rows: ONNX files that Keras wrote, of F. Chollet's own examples
(https://keras.io/examples/generative/): a VAE's decoder and a DCGAN's generator, NHWC inside."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks.row import Arrays, Reference, Row, Wrap
from export.torchvision_operators import declare_operators


def _keras() -> Any:
    declare_operators()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def _decoder() -> Any:
    keras = _keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same"),
            layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same"),
            layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same"),
        ]
    )


def _generator() -> Any:
    keras = _keras()
    layers = keras.layers
    hidden = []
    for width in (128, 256, 512):
        hidden += [layers.Conv2DTranspose(width, 4, strides=2, padding="same")]
        hidden += [layers.LeakyReLU(negative_slope=0.2)]
    return keras.Sequential(
        [
            keras.Input((128,)),
            layers.Dense(8 * 8 * 128),
            layers.Reshape((8, 8, 128)),
            *hidden,
            layers.Conv2D(3, 5, padding="same", activation="sigmoid"),
        ]
    )


def _row(name: str, build: Callable[[], Any], gain: float) -> Row:
    """`gain`: of each layer, so that images have all levels; new networks give nearly flat ones."""

    def write(folder: Path) -> Sequence[str]:
        keras = _keras()
        keras.utils.set_random_seed(0)
        model = build()
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                layer.kernel.assign(layer.kernel * gain)
        model(np.zeros((1, *model.input_shape[1:]), np.float32))  # or it cannot be exported
        model.save_weights(folder / "model.weights.h5")
        model.export(str(folder / "model.onnx"), format="onnx")
        return ("onnx", str(folder / "model.onnx"), "--value-range", "0", "1", "--name", "network")

    def read(folder: Path, wrap: Wrap) -> Reference:
        model = build()
        model.load_weights(folder / "model.weights.h5")
        call = wrap(model.predict)

        def run(graph: str, inputs: Arrays) -> Arrays:
            made = call(inputs["latents"], verbose=0)
            return {"images": np.rint(made * 255).clip(0, 255).astype(np.uint8)}

        return run

    return Row(name, write, read)


def rows() -> list[Row]:
    """Keras' VAE decoder (28x28) and DCGAN generator (64x64)."""
    return [_row("Keras VAE decoder", _decoder, 4.0), _row("Keras DCGAN 64", _generator, 3.0)]
