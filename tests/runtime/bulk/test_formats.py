"""Shard files: read by the packages of their formats, the same bytes for the same rows."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import safetensors
import safetensors.numpy

from runtime.bulk.formats import TENSOR_FORMATS, write_images, write_tensors
from runtime.bulk.formats.columns import Column
from runtime.bulk.formats.records import Record

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


@pytest.mark.parametrize("suffix", TENSOR_FORMATS)
def test_the_same_rows_are_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    made, _ = columns(tmp_path)
    write_tensors(tmp_path / f"a.{suffix}", made, KEYS, {"artifact": "x@1"})
    write_tensors(tmp_path / f"b.{suffix}", made[::-1], KEYS, {"artifact": "x@1"})
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {f"a.{suffix}", f"b.{suffix}", "mean"}


def test_safetensors_reads_it(tmp_path: Path) -> None:
    made, arrays = columns(tmp_path)
    path = tmp_path / "a.safetensors"
    write_tensors(path, made, KEYS, {"artifact": "x@1"})
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
    write_tensors(tmp_path / "a.npz", made, KEYS, {})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert {*found} == {*arrays, "keys"}
        assert found["keys"].tolist() == KEYS
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_values_lie_at_multiples_of_their_size(tmp_path: Path) -> None:
    made, _ = columns(tmp_path)
    write_tensors(tmp_path / "a.safetensors", made, [*KEYS[:3], "x" * 13], {})
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    sizes = {"F16": 2, "F32": 4, "I32": 4, "I64": 8}
    for name in ("mean", "log_density", "codes", "size"):
        assert header[name]["data_offsets"][0] % sizes[header[name]["dtype"]] == 0


def test_pyarrow_reads_tensors(tmp_path: Path) -> None:
    made, arrays = columns(tmp_path)
    write_tensors(tmp_path / "a.parquet", made, KEYS, {"artifact": "x@1"})
    found = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert {*found.column_names} == {*arrays, "key"}
    assert found["key"].to_pylist() == KEYS
    assert found.schema.metadata[b"artifact"] == b"x@1"
    for name, array in arrays.items():
        column, field = found[name].combine_chunks(), found.schema.field(name)
        values = column.flatten() if array.ndim > 1 else column
        shape = json.loads(field.metadata[b"shape"])
        assert shape == list(array.shape[1:])
        read = values.to_numpy(zero_copy_only=False).reshape(-1, *shape)
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_pyarrow_reads_images_as_data_sets_have_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [
        Record(f"{i:09d}", rng.bytes(1 << (i % 20)), {"seed": i, "label": "é"}) for i in range(3000)
    ]
    for name in ("a.parquet", "b.parquet"):
        write_images(tmp_path / name, iter(records))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert max(group.num_rows for group in groups) <= 1024
    assert 1 << 22 < max(group.total_byte_size for group in groups) < 9 << 20
    found = file.read().to_pylist()
    expected = [
        {"key": r.key, "image": {"bytes": r.png, "path": f"{r.key}.png"}, **r.about}
        for r in records
    ]
    assert found == expected
    features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == file.schema_arrow.names
    assert all(field.nullable for field in file.schema_arrow)  # else `datasets` passes them over
    assert features["image"] == {"_type": "Image"}
    assert features["seed"] == {"dtype": "int64", "_type": "Value"}


def test_a_tar_is_what_tarfile_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = ["000000001", "a/b.c", "é/é", "x" * 96, f"{'y' * 60}/{'z' * 60}", "50%", "b" * 300]
    records = [Record(key, rng.bytes(i * 300), {"seed": i}) for i, key in enumerate(keys)]
    write_images(tmp_path / "a.tar", iter(records))
    expected = io.BytesIO()
    names = [*keys[:1], "a/b%2Ec", *keys[2:5], "50%25", keys[6]]
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, record in zip(names, records, strict=True):
            about = json.dumps(record.about).encode()
            for suffix, data in (("png", record.png), ("json", about)):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    assert (tmp_path / "a.tar").read_bytes() == expected.getvalue()
