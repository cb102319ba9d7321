"""Shard files: read by the safetensors package and by numpy, the same bytes for the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from runtime.bulk.shards import Column, write_shard

KEYS = ["a/0001", "cat's é", 'quote " and \\ and \n', "日本"]


def columns(folder: Path) -> tuple[list[Column], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    arrays = {
        "mean": rng.standard_normal((4, 3, 5, 7)).astype(np.float16),
        "log_density": rng.standard_normal(4).astype(np.float32),
        "codes": rng.integers(0, 9, (4, 5, 1)),
        "size": rng.integers(0, 9, (4, 2)).astype(np.int32),
    }
    file = folder / "mean"
    file.write_bytes(arrays["mean"].tobytes())
    made = [Column.of(name, array) for name, array in arrays.items() if name != "mean"]
    return [Column("mean", np.dtype(np.float16), (4, 3, 5, 7), file), *made], arrays


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_the_same_rows_are_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    made, _ = columns(tmp_path)
    write_shard(tmp_path / f"a.{suffix}", made, KEYS, {"artifact": "x@1"})
    write_shard(tmp_path / f"b.{suffix}", made[::-1], KEYS, {"artifact": "x@1"})
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {f"a.{suffix}", f"b.{suffix}", "mean"}


def test_safetensors_reads_it(tmp_path: Path) -> None:
    made, arrays = columns(tmp_path)
    path = tmp_path / "a.safetensors"
    write_shard(path, made, KEYS, {"artifact": "x@1"})
    found = safetensors.numpy.load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
        np.testing.assert_array_equal(file.get_slice("mean")[1:3], arrays["mean"][1:3])
    assert json.loads(metadata["keys"]) == KEYS
    assert metadata["artifact"] == "x@1"


def test_numpy_reads_it(tmp_path: Path) -> None:
    made, arrays = columns(tmp_path)
    write_shard(tmp_path / "a.npz", made, KEYS, {})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert {*found} == {*arrays, "keys"}
        assert found["keys"].tolist() == KEYS
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_values_lie_at_multiples_of_their_size(tmp_path: Path) -> None:
    made, _ = columns(tmp_path)
    write_shard(tmp_path / "a.safetensors", made, [*KEYS[:3], "x" * 13], {})
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    sizes = {"F16": 2, "F32": 4, "I32": 4, "I64": 8}
    for name in ("mean", "log_density", "codes", "size"):
        assert header[name]["data_offsets"][0] % sizes[header[name]["dtype"]] == 0
