"""Loading is total: an artifact is whole and understood, or ArtifactError names file and reason."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import runtime
from runtime import ArtifactError, EngineError
from runtime.artifact.reading import find_artifact, read_artifact, read_npz
from runtime.images.encoding import encode_npz
from tests.tiny import replace_file, rewrite_manifest, write_artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path, "vae")


def change_graph(artifact: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_model_from_string((artifact / "decode.onnx").read_bytes())
    change(model)
    replace_file(artifact, "decode.onnx", model.SerializeToString())


def test_every_flipped_byte_is_found(artifact: Path) -> None:
    generator = random.Random(0)
    for file in sorted(artifact.iterdir()):
        data = file.read_bytes()
        for position in generator.sample(range(len(data)), min(60, len(data))):
            damaged = bytearray(data)
            damaged[position] ^= 1 << generator.randrange(8)
            file.write_bytes(bytes(damaged))
            with pytest.raises(ArtifactError):
                read_artifact(artifact)
        file.write_bytes(data)
    read_artifact(artifact)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_are_found(artifact: Path, share: float) -> None:
    for file in sorted(artifact.iterdir()):
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ArtifactError, match=r"SHA-256|expected"):
            read_artifact(artifact)
        file.write_bytes(data)


def test_missing_extra_and_renamed_files_are_named(artifact: Path) -> None:
    (artifact / "extra.txt").write_text("?")
    with pytest.raises(ArtifactError, match=r"not listed \['extra.txt'\]"):
        read_artifact(artifact)
    (artifact / "extra.txt").unlink()
    (artifact / "encode.onnx").rename(artifact / "encoder.onnx")
    with pytest.raises(ArtifactError, match=r"missing \['encode.onnx'\], not listed \['encoder"):
        read_artifact(artifact)


def test_a_folder_that_cannot_be_listed(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ArtifactError, match="cannot be listed: Permission denied"):
        read_artifact(artifact)


def test_swapped_files_are_found(artifact: Path) -> None:
    decode, encode = artifact / "decode.onnx", artifact / "encode.onnx"
    first, second = decode.read_bytes(), encode.read_bytes()
    decode.write_bytes(second)
    encode.write_bytes(first)
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_artifact(artifact)


def test_links_and_folders_are_refused(artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.onnx"
    shutil.move(artifact / "decode.onnx", target)
    (artifact / "decode.onnx").symlink_to(target)
    with pytest.raises(ArtifactError, match=r"decode.onnx: expected a plain file, found a link"):
        read_artifact(artifact)
    (artifact / "decode.onnx").unlink()
    (artifact / "decode.onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"decode.onnx: expected a plain file"):
        read_artifact(artifact)


@pytest.mark.skipif(os.name != "posix", reason="named pipes are a POSIX thing")
def test_a_pipe_does_not_hang(artifact: Path) -> None:
    (artifact / "decode.onnx").unlink()
    os.mkfifo(artifact / "decode.onnx")
    with pytest.raises(ArtifactError, match="expected a plain file"):
        read_artifact(artifact)


@pytest.mark.parametrize("name", ["../decode.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", ""])
def test_paths_cannot_leave_the_folder(artifact: Path, name: str) -> None:
    files = json.loads((artifact / "manifest.json").read_text("utf-8"))["files"]
    rewrite_manifest(artifact, files=files | {name: "0" * 64})
    with pytest.raises(ArtifactError, match="plain file name inside the artifact"):
        read_artifact(artifact)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 1}, "export it again"),
        ({"format_version": 3}, "format_version: Input should be 2"),
        ({"format_version": "2"}, "format_version"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"name": "Ümlaut"}, "name: .*lower-case"),
        ({"version": 0}, "version"),
        ({"labels": ["a", "b"]}, "labels: expected class names where, and only where"),
        ({"labels": ["a", "a"]}, "distinct"),
        ({"graphs": {}}, "graphs"),
        ({"axes": {"height": {"min": 8, "max": 4, "default": 8}}}, "min <= default <= max"),
        ({"batches": [4, 1]}, "ascending"),
        ({"batches": []}, "batches"),
    ],
)
def test_a_wrong_manifest_is_named(artifact: Path, changes: dict, message: str) -> None:
    rewrite_manifest(artifact, **changes)
    with pytest.raises(ArtifactError, match=rf"manifest.json: .*{message}"):
        read_artifact(artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g["decode"]["inputs"][0].update(shape=[3]), "latents: expected one shape"),
        (lambda g: g["decode"]["inputs"][0].update(shape=[1 << 30]), "graphs.decode.inputs.0"),
        (lambda g: g["decode"]["inputs"][0].update(shape=[]), "at least one axis"),
        (lambda g: g["decode"]["inputs"][0].update(role="mean"), "latents among them"),
        (lambda g: g["decode"]["inputs"][0].update(dtype="uint8"), "expected float32"),
        (lambda g: g["decode"]["inputs"].append(g["decode"]["inputs"][0]), "distinct names"),
        (lambda g: g["decode"]["outputs"][0].update(shape=[9, 8, 1]), "images: expected one shape"),
        (lambda g: g["decode"]["outputs"][0].update(shape=[8, 8, 5]), "1 or 2 or 3 or 4 channels"),
        (lambda g: g["decode"]["outputs"][0].update(shape=["height", 8, 1]), "not under axes"),
        (lambda g: g["decode"]["outputs"][0].update(shape=["h+1", 8, 1]), "expected an axis"),
        (lambda g: g["decode"].update(files={"fp16": "decode.onnx"}), "expected an fp32 graph"),
        (lambda g: g["decode"].update(files={"fp32": "other.onnx"}), "no checksum under files"),
        (lambda g: g.update(paint=g["decode"]), "expected a graph named one of"),
    ],
)
def test_a_wrong_graph_is_named(artifact: Path, change: Any, message: str) -> None:
    graphs = json.loads((artifact / "manifest.json").read_text("utf-8"))["graphs"]
    change(graphs)
    rewrite_manifest(artifact, graphs=graphs)
    with pytest.raises(ArtifactError, match=rf"manifest.json: .*{message}"):
        read_artifact(artifact)


def test_a_manifest_that_is_no_json(artifact: Path) -> None:
    data = b"{" * 1000
    (artifact / "manifest.json").write_bytes(data)
    (artifact / "manifest.sha256").write_text(hashlib.sha256(data).hexdigest())
    with pytest.raises(ArtifactError, match="Invalid JSON"):
        read_artifact(artifact)


def test_the_folder_and_the_manifest_agree_on_the_version(artifact: Path) -> None:
    renamed = artifact.rename(artifact.with_name("3"))
    with pytest.raises(ArtifactError, match="expected version 3 as the folder says, found 1"):
        read_artifact(renamed)


def test_no_artifact_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected an artifact .* or a name under"):
        runtime.load(tmp_path)


def _foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _random(model: onnx.ModelProto) -> None:
    node = helper.make_node("RandomNormal", [], ["noise"], shape=[1])
    model.graph.node.insert(0, node)


def _as_many_as_values_say(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["latents"], ["some"]))


def _loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["x"], body=body))


def _hidden_subgraph(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", body))


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _huge_constant(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "vast")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["vast"], ["ocean"]))


def _computed_size(model: onnx.ModelProto) -> None:
    numbers = {"two": np.array([2], np.int64), "much": np.array([45], np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in numbers.items())
    model.graph.node.append(helper.make_node("Pow", ["two", "much"], ["vast"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["vast"], ["ocean"]))


def _doubling(model: onnx.ModelProto) -> None:
    start = numpy_helper.from_array(np.ones(2, np.int64), "double0")
    model.graph.initializer.append(start)
    for i in range(30):
        names = [f"double{i}", f"double{i}"]
        model.graph.node.append(helper.make_node("Concat", names, [f"double{i + 1}"], axis=0))


def _fixed_rows(model: onnx.ModelProto) -> None:
    # The border still says "batch"; inside, only the first row is kept.
    for name, value in {"from": [0], "to": [1], "axis": [0]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.node[-1].output[0] = "all"
    model.graph.node.append(helper.make_node("Slice", ["all", "from", "to", "axis"], ["images"]))


def _lying_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].dims[0] = 1 << 40


def _too_much_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].raw_data += b"1234"


def _unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].data_type = TensorProto.COMPLEX64


def _function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 20)]
    node = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("local", "Mine", ["a"], ["b"], [node], opset))


def _old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def _frozen_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "z"
    model.graph.node[0].input[0] = "z"


def _other_output_type(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _dangling(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


GRAPH_CHANGES: dict[Callable[[onnx.ModelProto], None], str] = {
    _foreign: "operator com.example::Reshape is not among",
    _random: "operator RandomNormal is not among",
    _as_many_as_values_say: "operator NonZero is not among",
    _loop: "operator Loop is not among",
    _hidden_subgraph: "carries a graph",
    _external: "keeps its data outside the file",
    _huge_constant: "more than .* values",
    _computed_size: "the size of 'ocean' .* is unknown",
    _doubling: "more than .* values",
    _fixed_rows: "does not have one row for each row of the batch",
    _lying_dims: "more than .* values",
    _too_much_data: "holds 129 values, its shape says",
    _unknown_type: "is of element type 14, which no artifact uses",
    _function: "no local functions",
    _old_opset: "expected opset 18 to 24, found 11",
    _frozen_batch: "free batch axis",
    _renamed_input: r"expected inputs \['latents'\], found \['z'\]",
    _other_output_type: "images is float32 .* expected uint8",
    _dangling: "not a valid ONNX graph",
}


@pytest.mark.parametrize("change", GRAPH_CHANGES, ids=lambda change: change.__name__[1:])
def test_unsafe_graphs_are_refused(artifact: Path, change: Callable) -> None:
    change_graph(artifact, change)
    with pytest.raises(ArtifactError, match=GRAPH_CHANGES[change]) as caught:
        read_artifact(artifact)
    assert "decode.onnx" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not onnx", bytes(1000)])
def test_no_onnx_at_all(artifact: Path, data: bytes) -> None:
    replace_file(artifact, "decode.onnx", data)
    with pytest.raises(ArtifactError, match="decode.onnx"):
        read_artifact(artifact)


def test_golden_images_guard_the_engine(artifact: Path) -> None:
    def weaken(model: onnx.ModelProto) -> None:
        weight = next(t for t in model.graph.initializer if t.name == "weight")
        array = numpy_helper.to_array(weight) * np.float32(0.5)
        weight.CopyFrom(numpy_helper.from_array(array, "weight"))

    change_graph(artifact, weaken)
    with pytest.raises(EngineError, match="does not reproduce the golden images"):
        runtime.load(artifact)


@pytest.mark.parametrize("shape", [(0, 2), ()])
def test_golden_rows_must_be_there(artifact: Path, shape: tuple[int, ...]) -> None:
    with np.load(artifact / "golden.npz") as arrays:
        changed = dict(arrays) | {"decode.latents": np.zeros(shape, np.float32)}
    replace_file(artifact, "golden.npz", encode_npz(changed))
    with pytest.raises(ArtifactError, match=r"golden.npz: expected (at least one|rows)"):
        runtime.load(artifact)


def test_the_highest_version_counts_even_when_it_is_damaged(tmp_path: Path) -> None:
    write_artifact(tmp_path, version=1)
    (write_artifact(tmp_path, version=2) / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"2/manifest.json: expected a plain file, found none"):
        runtime.load(tmp_path / "tiny-plain")


def test_golden_arrays_must_be_there(artifact: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, other=np.zeros(3))
    replace_file(artifact, "golden.npz", buffer.getvalue())
    with pytest.raises(ArtifactError, match=r"expected an array 'decode.latents', found \['other"):
        runtime.load(artifact)


def test_npz_bombs_and_pickles_are_refused() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(300 << 20))
    assert len(bomb.getvalue()) < 1 << 20
    with pytest.raises(ArtifactError, match="unpacks to 314572800 bytes"):
        read_npz(bomb.getvalue(), "golden.npz")
    liar = io.BytesIO()
    with zipfile.ZipFile(liar, "w") as archive:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n"
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr("x.npy", magic + header)
        archive.writestr("y.txt", b"no array")
    with pytest.raises(ArtifactError, match="plain arrays"):
        read_npz(liar.getvalue(), "golden.npz")
    objects = io.BytesIO()
    np.savez(objects, allow_pickle=True, x=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="plain arrays"):
        read_npz(objects.getvalue(), "golden.npz")


def test_a_name_or_version_that_is_not_there_is_answered_by_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTSERVE_ARTIFACTS", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"look elsewhere\): none is there"):
        find_artifact("tiny-vae")
    for version in (1, 3):
        write_artifact(tmp_path, "vae", version=version)
    write_artifact(tmp_path, "plain")
    with pytest.raises(
        ArtifactError, match=r"no version 9 of tiny-vae in .*tiny-vae@1, tiny-vae@3"
    ):
        find_artifact("tiny-vae@9")
    listed = r"there: tiny-plain, tiny-vae; `latentserve list`"
    with pytest.raises(ArtifactError, match=listed):
        find_artifact("nope")
    with pytest.raises(ArtifactError, match=rf"did you mean tiny-vae\? {listed}"):
        find_artifact("artifacts/tiny-vea")
