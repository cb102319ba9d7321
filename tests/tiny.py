"""Tiny artifacts, valid in every respect, for tests of whatever reads artifacts.

Their graphs are put together with `onnx.helper`, so that neither torch nor a training is needed:
8x8 images, one or two dense layers with seeded weights. Images vary with latents and labels.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Kind = Literal["plain", "conditional", "vae"]

SIDE = 8
LABELS = ("zero", "one", "two")
DEFAULT_NAMES: dict[Kind, str] = {
    "plain": "tiny-plain",
    "conditional": "tiny-conditional",
    "vae": "tiny-vae",
}

_DTYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}


def write_artifact(
    folder: Path,
    kind: Kind = "plain",
    *,
    name: str | None = None,
    version: int = 1,
    latent: tuple[int, ...] | None = None,
    channels: int | None = None,
    seed: int = 0,
    batches: tuple[int, ...] = (1, 4, 16),
    details: dict[str, Any] | None = None,
    mixture: bool = False,
    noise: bool = False,
) -> Path:
    """Write `folder/<name>/<version>/` and return that folder.

    `plain`: RGB decoder of a 4-D latent. `conditional`: RGB, 6-D latent, the classes LABELS.
    `vae`: grey, 2-D latent, with an encoder. Other seeds give other weights.
    `details`: of its provenance. With `mixture` the latents come from one of three normals; with
    `noise` the encoder takes noise and gives latents and their log density: the same posterior,
    drawn from.
    """
    shape = latent or {"plain": (4,), "conditional": (6,), "vae": (2,)}[kind]
    depth = channels or (1 if kind == "vae" else 3)
    labels = LABELS if kind == "conditional" else None
    generator = np.random.default_rng(seed)
    image = (SIDE, SIDE, depth)

    files = {"decode.onnx": _decoder(generator, shape, image, labels)}
    graphs: dict[str, Any] = {"decode": graph_entry("decode.onnx", files["decode.onnx"])}
    count = 5
    inputs: dict[str, NDArray[Any]] = {
        "latents": generator.standard_normal((count, *shape)).astype(np.float32)
    }
    if labels is not None:
        inputs["labels"] = np.arange(count, dtype=np.int64) % len(labels)
    golden = run_golden("decode", files["decode.onnx"], inputs)
    if kind == "vae":
        files["encode.onnx"] = _encoder(generator, shape, image, noise)
        graphs["encode"] = graph_entry("encode.onnx", files["encode.onnx"])
        given = {"images": golden["decode.images"]}
        if noise:
            given["noise"] = inputs["latents"][::-1].copy()
        golden |= run_golden("encode", files["encode.onnx"], given)
    files["golden.npz"] = npz(golden)
    files["README.md"] = b"# A tiny artifact for tests\n"
    if mixture:
        files["prior.npz"] = npz(mixture_arrays(3, int(np.prod(shape))))

    manifest = {
        "format_version": 2,
        "name": name or DEFAULT_NAMES[kind],
        "version": version,
        "kind": "vae" if kind == "vae" else "gan",
        "graphs": graphs,
        "prior": "gaussian_mixture" if mixture else "standard_normal",
        "labels": None if labels is None else list(labels),
        "batches": list(batches),
        "provenance": {"source": "tests.tiny", "details": details or {"seed": seed}},
        "licence": "MIT",
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    return write_files(folder / str(manifest["name"]) / str(version), manifest, files)


def mixture_arrays(components: int, size: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """What a `prior.npz` holds, of well separated and correlated normals."""
    generator = np.random.default_rng(seed)
    weights = np.arange(1.0, components + 1)
    factors = np.tril(_normal(generator, 0.3, components, size, size), -1)
    diagonals = np.abs(_normal(generator, 0.3, components, size)) + np.float32(0.2)
    return {
        "weights": weights / weights.sum(),
        "means": _normal(generator, 2.0, components, size),
        "factors": factors + np.eye(size, dtype=np.float32) * diagonals[:, None, :],
    }


def rewrite_manifest(artifact: Path, **changes: Any) -> None:
    """Change top-level manifest entries of an artifact in place, its digest kept true."""
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    write_files(artifact, manifest | changes, {})


def replace_file(artifact: Path, name: str, data: bytes) -> None:
    """Change a file and its checksum: what an attacker (or a buggy exporter) would write."""
    (artifact / name).write_bytes(data)
    files = json.loads((artifact / "manifest.json").read_text("utf-8"))["files"]
    rewrite_manifest(artifact, files=files | {name: hashlib.sha256(data).hexdigest()})


def write_files(target: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> Path:
    """Write a manifest, its digest and files, and return the folder."""
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest, indent=1).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    for file, data in {**files, "manifest.json": text, "manifest.sha256": digest}.items():
        (target / file).write_bytes(data)
    return target


def _decoder(
    generator: np.random.Generator,
    latent: tuple[int, ...],
    image: tuple[int, int, int],
    labels: tuple[str, ...] | None,
) -> bytes:
    size, pixels = int(np.prod(latent)), int(np.prod(image))
    weights = {
        "flat": np.array([-1, size], np.int64),
        "weight": _normal(generator, 1.0, size, pixels),
        "bias": _normal(generator, 0.3, pixels),
        "scale": np.array(127.5, np.float32),
        "low": np.array(0.0, np.float32),
        "high": np.array(255.0, np.float32),
        "nhwc": np.array([-1, *image], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["latents", "flat"], ["z"]),
        helper.make_node("Gemm", ["z", "weight", "bias"], ["from_latent"]),
    ]
    inputs = [_value("latents", "float32", latent)]
    last = "from_latent"
    if labels is not None:
        weights["classes"] = _normal(generator, 1.0, len(labels), pixels)
        nodes += [
            helper.make_node("Gather", ["classes", "labels"], ["from_label"]),
            helper.make_node("Add", ["from_latent", "from_label"], ["both"]),
        ]
        inputs.append(_value("labels", "int64", ()))
        last = "both"
    nodes += [
        helper.make_node("Tanh", [last], ["squashed"]),
        helper.make_node("Mul", ["squashed", "scale"], ["centred"]),
        helper.make_node("Add", ["centred", "scale"], ["levels"]),
        helper.make_node("Round", ["levels"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["clamped"]),
        helper.make_node("Cast", ["clamped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "nhwc"], ["images"]),
    ]
    return _model(nodes, inputs, [_value("images", "uint8", image)], weights)


def _encoder(
    generator: np.random.Generator,
    latent: tuple[int, ...],
    image: tuple[int, int, int],
    noise: bool,
) -> bytes:
    size, pixels = int(np.prod(latent)), int(np.prod(image))
    weights = {
        "flat": np.array([-1, pixels], np.int64),
        "scale": np.array(1 / 127.5, np.float32),
        "one": np.array(1.0, np.float32),
        "mean_weight": _normal(generator, pixels**-0.5, pixels, size),
        "variance_weight": _normal(generator, pixels**-0.5, pixels, size),
        "latent": np.array([-1, *latent], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["rows"]),
        helper.make_node("Mul", ["rows", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("MatMul", ["centred", "mean_weight"], ["mean_rows"]),
        helper.make_node("MatMul", ["centred", "variance_weight"], ["variance_rows"]),
        helper.make_node("Reshape", ["mean_rows", "latent"], ["mean"]),
        helper.make_node("Reshape", ["variance_rows", "latent"], ["log_variance"]),
    ]
    inputs = [_value("images", "uint8", image)]
    outputs = [_value("mean", "float32", latent), _value("log_variance", "float32", latent)]
    if not noise:
        return _model(nodes, inputs, outputs, weights)
    weights |= {
        "half": np.array(0.5, np.float32),
        "minus_half": np.array(-0.5, np.float32),
        "log_two_pi": np.array(np.log(2 * np.pi), np.float32),
        "all_but_the_batch": np.arange(1, 1 + len(latent)),
    }
    nodes += [
        helper.make_node("Mul", ["log_variance", "half"], ["log_scale"]),
        helper.make_node("Exp", ["log_scale"], ["scale_of_noise"]),
        helper.make_node("Mul", ["scale_of_noise", "noise"], ["moved"]),
        helper.make_node("Add", ["mean", "moved"], ["latents"]),
        helper.make_node("Mul", ["noise", "noise"], ["squares"]),
        helper.make_node("Add", ["squares", "log_variance"], ["more"]),
        helper.make_node("Add", ["more", "log_two_pi"], ["terms"]),
        helper.make_node("ReduceSum", ["terms", "all_but_the_batch"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "minus_half"], ["log_density"]),
    ]
    inputs.append(_value("noise", "float32", latent))
    outputs = [_value("latents", "float32", latent), _value("log_density", "float32", ())]
    return _model(nodes, inputs, outputs, weights)


def _normal(generator: np.random.Generator, scale: float, *shape: int) -> NDArray[np.float32]:
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def _value(name: str, dtype: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _DTYPES[dtype], ["batch", *shape])


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]],
) -> bytes:
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def graph_entry(file: str, data: bytes) -> dict[str, Any]:
    """What the manifest says of a graph whose tensors are named by their roles."""
    graph = onnx.load_model_from_string(data).graph
    return {
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) for value in graph.output],
        "files": {"fp32": file},
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    dtype = next(name for name, code in _DTYPES.items() if code == kind.elem_type)
    return {
        "name": value.name,
        "role": value.name,
        "dtype": dtype,
        "shape": [dim.dim_value for dim in kind.shape.dim][1:],
    }


def run_golden(graph: str, data: bytes, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs of a graph and what ONNX Runtime makes of them, named as in `golden.npz`."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs: list[Any] = list(session.run(names, inputs))
    tensors = inputs | dict(zip(names, outputs, strict=True))
    return {f"{graph}.{name}": array for name, array in tensors.items()}


def npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as the bytes of an `.npz`."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()
