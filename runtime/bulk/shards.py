"""Shard files: named columns of n rows each, and the rows' keys, as safetensors or npz.

The bytes follow from the content alone. Columns may lie in files, and are then copied in pieces.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.images.encoding import ZIP_TIME, npy_header
from runtime.images.files import renamed

Format = Literal["safetensors", "npz"]
FORMATS: tuple[Format, ...] = ("safetensors", "npz")

_COPY_BYTES = 1 << 20
_KINDS = {"uint8": "U8", "int32": "I32", "int64": "I64", "float16": "F16", "float32": "F32"}
"""numpy's name of a type -> that of safetensors."""


@dataclass(frozen=True, eq=False)
class Column:
    """An array [n, ...] of a shard, C-ordered, little-endian: in memory, or the whole of a file."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: NDArray[Any] | Path

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Column":
        return cls(name, array.dtype, array.shape, array)

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def copy(self, file: IO[bytes]) -> None:
        """Write the values."""
        if isinstance(self.data, Path):
            with self.data.open("rb") as source:
                shutil.copyfileobj(source, file, _COPY_BYTES)
        else:
            file.write(np.ascontiguousarray(self.data).data)


def write_shard(
    path: Path, columns: Sequence[Column], keys: Sequence[str], about: Mapping[str, str]
) -> None:
    """Write columns in the format of the path's suffix; the file is whole or absent.

    safetensors: the keys are a JSON list in the metadata, under `keys`, beside `about`. npz: the
    keys are an array `keys`. Raises InputError if the system cannot write.
    """
    # The widest values first: so every column lies at a multiple of its values' size.
    ordered = sorted(columns, key=lambda column: (-column.dtype.itemsize, column.name))
    with renamed(path) as file:
        if path.suffix == ".safetensors":
            _write_safetensors(file, ordered, {**about, "keys": json.dumps(list(keys))})
        else:
            _write_npz(file, [*ordered, Column.of("keys", np.array(keys, np.str_))])
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave its name on an empty file


def _write_safetensors(
    file: IO[bytes], columns: Sequence[Column], metadata: Mapping[str, str]
) -> None:
    """The format of https://github.com/huggingface/safetensors#format: the header's length, 8 bytes
    little-endian; the header, JSON, filled with spaces; the values without a gap."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for column in columns:
        start, end = end, end + column.size
        header[column.name] = {
            "dtype": _KINDS[column.dtype.name],
            "shape": column.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for column in columns:
        column.copy(file)


def _write_npz(file: IO[bytes], columns: Sequence[Column]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for column in columns:
            member = zipfile.ZipInfo(f"{column.name}.npy", ZIP_TIME)
            with archive.open(member, "w", force_zip64=True) as values:
                values.write(npy_header(column.shape, column.dtype))
                column.copy(values)
