"""ONNX files written as text, and their exports, for tests of `python -m export onnx`."""

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

from export.__main__ import main
from runtime.artifact.reading import Artifact, read_artifact


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
