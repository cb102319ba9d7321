"""`python -m export onnx`: files that were written for a batch of one."""

from pathlib import Path

import numpy as np
import pytest

import runtime
from tests.onnx_files import export, latents_of, levels, refused, run, same, write

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
