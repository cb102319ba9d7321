"""`python -m export onnx`: what is refused, and what the error says."""

import re
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.parser
import pytest

import runtime
from tests.onnx_files import CONDITIONED, NHWC, export, latents_of, parsed, refused, write

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
        "expected a network in eval mode, found Dropout in train mode: .* model.eval\\(\\)",
    ),
    "batch norm of a training": (
        NHWC.replace(
            "images = Tanh(rows)",
            """normed, means, variances = BatchNormalization <training_mode = 1> (
                rows, weight, bias, mean, variance)
            images = Tanh(normed)""",
        ),
        {"w": (6, 60), "weight": (4,), "bias": (4,), "mean": (4,), "variance": (4,)},
        [],
        "expected a network in eval mode, found BatchNormalization in train mode",
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
    "no batch": (
        """net (float[6] z) => (float[3, 8, 8] images) {
            flat = MatMul(z, w)
            shape = Constant<value_ints = [3, 8, 8]>()
            rows = Reshape(flat, shape)
            images = Tanh(rows)
        }""",
        {"w": (6, 192)},
        [],
        "expected a batch axis before those of the latents; found inputs 'z' float \\[6\\]",
    ),
    "a number for all rows": (
        CONDITIONED.replace("float[b, 1] psi", "float psi"),
        {"classes": (3, 4), "w": (4, 12)},
        ["--truncation", "psi", "--noise", "noise_in", "--labels", "a,b,c"],
        "'psi' float \\[\\] is given a number for each row: write it as \\[B\\] or \\[B, 1\\]",
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
    "a mask for a decoder": (
        "net (float[b, 2, 4, 4] z, float[b, 1, 4, 4] m) => (float[b, 3, 4, 4] y) "
        "{ both = Concat <axis = 1> (z, m) y = Tanh(both) }",
        {},
        ["--mask", "m"],
        "expected no --mask, which a translator alone takes \\(--translates\\); found inputs",
    ),
    "a deviation below 0": (
        "net (float[b, 1, 8, 8] x) => (float[b, 1, 8, 8] y) { y = Tanh(x) }",
        {},
        ["--translates", "--mean", "0.5", "--std", "-0.5"],
        "those of --std above 0, found",
    ),
    "a mean without end": (
        "net (float[b, 1, 8, 8] x) => (float[b, 1, 8, 8] y) { y = Tanh(x) }",
        {},
        ["--translates", "--mean", "nan", "--std", "inf"],
        "--mean, --std: expected a number a channel for both",
    ),
    "a range without end": (
        NHWC,
        {"w": (6, 60)},
        ["--value-range", "0", "inf"],
        "expected \\(low, high\\) with low < high, both finite",
    ),
    "a range far too wide": (
        NHWC.replace("Tanh(rows)", "Sigmoid(rows)"),
        {"w": (6, 60)},
        ["--value-range", "0", "255"],
        "expected values in all of \\[0, 255\\], found .* which are all black: state the range",
    ),
    "a class without a name": (
        CONDITIONED,
        {"classes": (3, 4), "w": (4, 12)},
        ["--truncation", "psi", "--noise", "noise_in", "--labels", "cat,,dog"],
        "labels: expected a name for each, found",
    ),
    "a prior without its input": (
        NHWC,
        {"w": (6, 60)},
        ["--prior", "truncated_normal"],
        "prior: truncated_normal: expected a decoder that takes a truncation$",
    ),
    "images without a shape": (
        "net (float[] x) => (float[] y) { y = Tanh(x) }",
        {},
        ["--translates", "--image", "4x4x1"],
        "found none: say which \\(--layout nchw or nhwc\\)",
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
    assert re.search(message, error.strip()), error
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
