"""A tiny artifact whose images have any size: named axes, two noise inputs, a truncation, an
encoder and a translator that takes a mask and doubles the image."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests import tiny

AXES = {
    "height": {"multiple_of": 2, "min": 4, "max": 64, "default": 8},
    "width": {"multiple_of": 2, "min": 4, "max": 64, "default": 12},
}
SHAPES: dict[str, list[int | str]] = {
    "latents": [2, "height / 2", "width / 2"],
    "mean": [2, "height / 2", "width / 2"],
    "log_variance": [2, "height / 2", "width / 2"],
    "coarse": [1, "height / 2", "width / 2"],
    "fine": [1, "height", "width"],
    "truncation": [],
    "images": ["height", "width", 3],
    "mask": ["height", "width", 1],
    "larger": ["2 * height", "2 * width", 3],
}
ROLES = {"coarse": "noise", "fine": "noise", "larger": "images"}
DTYPES = {"images": "uint8", "mask": "uint8", "larger": "uint8"}


def write_sized(
    folder: Path, *, prior: str = "standard_normal", masked: bool = True, **changes: Any
) -> Path:
    """Write `folder/tiny-sized/1` and return it; `changes` replace entries of the manifest. Not
    `masked`: its translator takes no mask."""
    translated = ["images", "mask"] if masked else ["images"]
    files = {
        "decode.onnx": _decoder(),
        "encode.onnx": _encoder(),
        "translate.onnx": _translator(translated),
    }
    signatures = {
        "decode": (["latents", "coarse", "fine", "truncation"], ["images"]),
        "encode": (["images"], ["mean", "log_variance"]),
        "translate": (translated, ["larger"]),
    }
    golden: dict[str, NDArray[Any]] = {}
    for graph, (names, _) in signatures.items():
        inputs = {name: _example(name) for name in names}
        golden |= tiny.run_golden(graph, files[f"{graph}.onnx"], inputs)
    files["golden.npz"] = tiny.npz(golden)
    manifest = {
        "format_version": 2,
        "name": "tiny-sized",
        "version": 1,
        "kind": "vae",
        "axes": AXES,
        "graphs": {
            graph: {
                "inputs": [_tensor(name) for name in inputs],
                "outputs": [_tensor(name) for name in outputs],
                "files": {"fp32": f"{graph}.onnx"},
            }
            for graph, (inputs, outputs) in signatures.items()
        },
        "prior": prior,
        "labels": None,
        "batches": [1, 4, 16],
        "provenance": {"source": "tests.sized"},
        "licence": "MIT",
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    return tiny.write_files(folder / "tiny-sized" / "1", manifest | changes, files)


def _tensor(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "role": ROLES.get(name, name),
        "dtype": DTYPES.get(name, "float32"),
        "shape": SHAPES[name],
    }


def _example(name: str) -> NDArray[Any]:
    sizes = {"height": 8, "width": 12, "height / 2": 4, "width / 2": 6}
    shape = (3, *(sizes[dim] if isinstance(dim, str) else dim for dim in SHAPES[name]))
    generator = np.random.default_rng(len(name))
    if DTYPES.get(name) == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.standard_normal(shape).astype(np.float32)


def _weights(*shape: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(sum(shape))
    return (generator.standard_normal(shape) * 0.7).astype(np.float32)


_TO_BYTES = [
    helper.make_node("Tanh", ["floats"], ["squashed"]),
    helper.make_node("Mul", ["squashed", "half"], ["scaled"]),
    helper.make_node("Add", ["scaled", "half"], ["levels"]),
    helper.make_node("Round", ["levels"], ["rounded"]),
    helper.make_node("Clip", ["rounded", "low", "high"], ["clamped"]),
    helper.make_node("Cast", ["clamped"], ["nchw"], to=TensorProto.UINT8),
]
_LEVELS = {
    "half": np.array(127.5, np.float32),
    "low": np.array(0.0, np.float32),
    "high": np.array(255.0, np.float32),
    "double": np.array([1, 1, 2, 2], np.float32),
}


def _decoder() -> bytes:
    nodes = [
        helper.make_node("Unsqueeze", ["truncation", "axes"], ["each"]),
        helper.make_node("Mul", ["latents", "each"], ["truncated"]),
        helper.make_node("Concat", ["truncated", "coarse"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "first"], ["low_resolution"]),
        helper.make_node("Resize", ["low_resolution", "", "double"], ["doubled"], mode="nearest"),
        helper.make_node("Add", ["doubled", "fine"], ["noisy"]),
        helper.make_node("Conv", ["noisy", "second"], ["floats"], pads=[1, 1, 1, 1]),
        *_TO_BYTES,
        helper.make_node("Transpose", ["nchw"], ["images"], perm=[0, 2, 3, 1]),
    ]
    weights = {
        "axes": np.array([1, 2, 3]),
        "first": _weights(5, 3, 1, 1),
        "second": _weights(3, 5, 3, 3),
        **_LEVELS,
    }
    return _model(nodes, ["latents", "coarse", "fine", "truncation"], ["images"], weights)


def _encoder() -> bytes:
    nodes = [
        helper.make_node("Cast", ["images"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "half"], ["scaled"]),
        helper.make_node(
            "AveragePool", ["scaled"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Conv", ["pooled", "to_mean"], ["mean"]),
        helper.make_node("Conv", ["pooled", "to_variance"], ["log_variance"]),
    ]
    weights = {
        "half": np.array(127.5, np.float32),
        "to_mean": _weights(2, 3, 1, 1),
        "to_variance": _weights(2, 3, 1, 1) * np.float32(0.5),
    }
    return _model(nodes, ["images"], ["mean", "log_variance"], weights)


def _translator(given: list[str]) -> bytes:
    nodes = [
        helper.make_node("Concat", given, ["four"], axis=3),
        helper.make_node("Cast", ["four"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "half"], ["given"]),
        helper.make_node("Conv", ["given", "kernel"], ["changed"]),
        helper.make_node("Resize", ["changed", "", "double"], ["floats"], mode="nearest"),
        *_TO_BYTES,
        helper.make_node("Transpose", ["nchw"], ["larger"], perm=[0, 2, 3, 1]),
    ]
    weights = {"kernel": _weights(3, 2 + len(given), 1, 1), **_LEVELS}
    return _model(nodes, given, ["larger"], weights)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[str],
    outputs: list[str],
    weights: dict[str, NDArray[Any]],
) -> bytes:
    def value(name: str) -> onnx.ValueInfoProto:
        kind = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
        shape = [dim.replace(" ", "") if isinstance(dim, str) else dim for dim in SHAPES[name]]
        dtype = kind[DTYPES.get(name, "float32")]
        return helper.make_tensor_value_info(name, dtype, ["batch", *shape])

    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes, "sized", [value(n) for n in inputs], [value(n) for n in outputs], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()
