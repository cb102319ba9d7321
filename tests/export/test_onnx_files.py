"""`python -m export onnx`: ONNX files as Keras, JAX or a colleague leave them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import runtime
from tests.onnx_files import (
    CONDITIONED,
    NHWC,
    export,
    latents_of,
    levels,
    parsed,
    pictures,
    run,
    same,
    write,
)


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


@pytest.mark.parametrize("opset", [13, 20])
def test_shapes_that_the_file_leaves_out(opset: int, tmp_path: Path) -> None:
    model = parsed(NHWC, opset, w=(6, 60))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    path = tmp_path / "shapeless.onnx"
    path.write_bytes(model.SerializeToString())
    artifact = export(tmp_path, path, "--latent", "6")
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), levels(run(path, {"z": z})[0]))


@pytest.mark.parametrize("mode", ["initializer", "node", "with its mask"])
def test_dropout_that_is_off_does_nothing(mode: str, tmp_path: Path) -> None:
    off = "" if mode == "initializer" else "off = Constant<value = bool {0}>()"
    made = "rows, unused" if mode == "with its mask" else "rows"
    dropout = f"ratio = Constant<value = float {{0.5}}>() {off} {made} = Dropout(all, ratio, off)"
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


@pytest.mark.parametrize("opset", [9, 10])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resizes_of_before_opset_11(mode: str, opset: int, tmp_path: Path) -> None:
    """They laid pixels over each other in another way than is the default since."""
    resize = "Upsample" if opset == 9 else "Resize"
    text = f"""
        net (float[batch, 6] z) => (float[batch, 3, 10, 12] images) {{
            flat = MatMul(z, w)
            shape = Constant<value = int64[4] {{-1, 3, 4, 5}}>()
            rows = Reshape(flat, shape)
            scales = Constant<value = float[4] {{1.0, 1.0, 2.5, 2.4}}>()
            resized = {resize} <mode = "{mode}"> (rows, scales)
            images = Tanh(resized)
        }}"""
    path = write(tmp_path / "old.onnx", text, opset, w=(6, 60))
    artifact = export(tmp_path, path)
    z = latents_of(5, 6)
    expected = levels(run(path, {"z": z})[0].transpose(0, 2, 3, 1))
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), expected)


def test_functions_other_files_and_notes(tmp_path: Path) -> None:
    """Local functions are inlined, weights from other files taken in, notes and paths left out; and
    shapes, which ONNX Runtime does not read from there."""
    text = """
        <ir_version: 8, opset_import: ["": 18, "theirs": 1], producer_name: "theirs 1.0">
        net (float[batch, 6] z) => (float[batch, 4, 5, 3] images) {
            flat = theirs.scaled(z, w)
            rows = Reshape(flat, shape)
            images = Tanh(rows)
        }
        <domain: "theirs", opset_import: ["": 18]>
        scaled (a, b) => (c) { c = MatMul(a, b) }"""
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((6, 60)).astype(np.float32)
    shape = np.array([-1, 4, 5, 3], np.int64)
    for name, array in (("w", weights), ("shape", shape)):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for part in (model, model.graph, model.graph.node[0]):
        part.doc_string = "written in /home/someone"
        part.metadata_props.add(key="path", value="/home/someone")
    path, whole = tmp_path / "model.onnx", model.SerializeToString()
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=16
    )
    assert (tmp_path / "weights.bin").is_file()
    artifact = export(tmp_path, path)
    assert b"someone" not in artifact.files["decode.onnx"]
    assert artifact.manifest.provenance.details["decode written by"] == "theirs 1.0"
    z = latents_of(5, 6)
    with runtime.load(artifact.folder, backend="onnxruntime", precision="fp32") as served:
        assert same(served.decode(z), levels(run(whole, {"z": z})[0]))
