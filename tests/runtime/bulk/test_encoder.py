"""What the encoder's kinds give, and pictures for which it gives nothing that can be kept."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import load_file

import runtime
from runtime.bulk.buckets import nearest_of
from runtime.bulk.encoder import Encoder, seed_of
from runtime.bulk.ledger import Ledger
from runtime.bulk.network import CHUNK_BYTES
from runtime.bulk.pipeline import Bulk
from runtime.bulk.sources import find
from runtime.images import ImageSpec, fit, open_image
from tests import tiny

ONE = ImageSpec(height=8, width=8, channels=1)


def write_coded(folder: Path) -> Path:
    """An encoder of grey 8x8 images with pixels a, b, ... that gives the latents (1000 a / b, b)
    and as code the number of the larger one."""
    weights = {
        "flat": np.array([-1, 64], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "thousand": np.array(1000, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["rows"]),
        helper.make_node("Gather", ["rows", "first"], ["a"], axis=1),
        helper.make_node("Gather", ["rows", "second"], ["b"], axis=1),
        helper.make_node("Div", ["a", "b"], ["ratio"]),
        helper.make_node("Mul", ["ratio", "thousand"], ["large"]),
        helper.make_node("Concat", ["large", "b"], ["latents"], axis=1),
        helper.make_node("ArgMax", ["latents"], ["codes"], axis=1),
    ]
    values = [
        helper.make_tensor_value_info(name, kind, ["batch", *shape])
        for name, kind, shape in (
            ("images", TensorProto.UINT8, (8, 8, 1)),
            ("latents", TensorProto.FLOAT, (2,)),
            ("codes", TensorProto.INT64, (1,)),
        )
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "coded", values[:1], values[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    encoder = model.SerializeToString()
    images = np.random.default_rng(0).integers(1, 9, (3, 8, 8, 1), dtype=np.uint8)
    files = {
        "encode.onnx": encoder,
        "golden.npz": tiny.npz(tiny.run_golden("encode", encoder, {"images": images})),
    }
    manifest = {
        "format_version": 2,
        "name": "tiny-coded",
        "version": 1,
        "kind": "vae",
        "graphs": {"encode": tiny.graph_entry("encode.onnx", encoder)},
        "prior": "none",
        "labels": None,
        "batches": [1, 4],
        "provenance": {"source": "tests"},
        "licence": "MIT",
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    return tiny.write_files(folder / "tiny-coded" / "1", manifest, files)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runtime.Model]:
    artifact = write_coded(tmp_path_factory.mktemp("coded"))
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        yield model


def picture(path: Path, a: int, b: int) -> None:
    pixels = np.full((8, 8), 7, np.uint8)
    pixels[0, :2] = a, b
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def encoded(encoder: Encoder, pictures: Path, out: Path) -> dict[str, np.ndarray]:
    """The one shard of a folder, and its keys."""
    Bulk(out, nearest_of({(8, 8): ONE})).run(encoder, find([pictures]).items)
    (shard,) = out.glob("*.safetensors")
    data = shard.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    keys = json.loads(header["__metadata__"]["keys"])
    return load_file(shard) | {"keys": np.array(keys)}


def test_latents_and_codes(coded: runtime.Model, tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "in" / f"{i}.png", a=i, b=200)
    found = encoded(Encoder(coded, "float16"), tmp_path / "in", tmp_path / "out")
    assert found["keys"].tolist() == list("012345")
    assert found["latents"].dtype == np.float16
    np.testing.assert_array_equal(found["latents"], [[5 * i, 200] for i in range(6)])
    assert found["codes"].dtype == np.int64
    np.testing.assert_array_equal(found["codes"], [[1]] * 6)


def test_an_encoder_without_a_posterior_takes_no_seed(coded: runtime.Model, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 1, 1)
    with pytest.raises(runtime.InputError, match="draws nothing"):
        encoded(Encoder(coded, seed=1), tmp_path / "in", tmp_path / "out")


def test_a_picture_without_a_usable_latent_is_skipped(coded: runtime.Model, tmp_path: Path) -> None:
    for i, (a, b) in enumerate([(1, 1), (1, 0), (200, 1), (3, 1), (0, 0), (5, 1)]):
        picture(tmp_path / "in" / f"{i}.png", a, b)
    found = encoded(Encoder(coded, "float16"), tmp_path / "in", tmp_path / "half")
    assert found["keys"].tolist() == ["0", "3", "5"]
    np.testing.assert_array_equal(found["latents"], [[1000, 1], [3000, 1], [5000, 1]])
    text = (tmp_path / "half" / "skipped.jsonl").read_text()
    skipped = {line["key"]: line["reason"] for line in map(json.loads, text.splitlines())}
    assert list(skipped) == ["1", "2", "4"]
    assert "NaN or infinity" in skipped["1"]
    assert "beyond float16" in skipped["2"]
    ledger = Ledger(tmp_path / "half")
    assert (ledger.pictures, ledger.rows, ledger.skipped) == (6, 3, 3)
    full = encoded(Encoder(coded, "float32"), tmp_path / "in", tmp_path / "full")
    assert full["keys"].tolist() == ["0", "2", "3", "5"]


def test_a_flow_draws_by_seed_and_key(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "in" / f"{i}.png", 30 * i, 9)
    artifact = tiny.write_artifact(tmp_path, "vae", noise=True)
    with runtime.load(artifact) as model:
        with pytest.raises(runtime.InputError, match="seed"):
            encoded(Encoder(model), tmp_path / "in", tmp_path / "none")
        found = encoded(Encoder(model, seed=3), tmp_path / "in", tmp_path / "out")
        for i, key in enumerate(found["keys"]):
            image = fit(open_image(tmp_path / "in" / f"{key}.png"), ONE)
            draw = model.encode(image[None], seed=seed_of(3, str(key)))
            np.testing.assert_allclose(found["latents"][i], draw.latents[0], atol=1e-5)
            assert found["log_density"][i] == pytest.approx(draw.log_density[0], rel=1e-4)


def test_large_pictures_run_alone(sized: runtime.Model) -> None:
    encoder = Encoder(sized)
    spec = ImageSpec(height=64, width=64, channels=3)
    assert encoder.chunk_size(spec) == min(sized.max_batch, CHUNK_BYTES // (64 * 64 * 3))
