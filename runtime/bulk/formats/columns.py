"""Named columns of n rows each: what shards of latents are made of."""

import shutil
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Column:
    """An array [n, ...] of a shard, C-ordered, little-endian: in memory, or the whole of a file,
    which is then read in pieces."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: NDArray[Any] | Path

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Column":
        return cls(name, array.dtype, array.shape, array)

    @property
    def row_values(self) -> int:
        return prod(self.shape[1:])

    @property
    def row_bytes(self) -> int:
        return self.row_values * self.dtype.itemsize

    @property
    def size(self) -> int:
        return self.shape[0] * self.row_bytes

    def copy(self, file: IO[bytes]) -> None:
        """Write the values."""
        if isinstance(self.data, Path):
            with self.data.open("rb") as source:
                shutil.copyfileobj(source, file, _COPY_BYTES)
        else:
            file.write(np.ascontiguousarray(self.data).data)

    def values(self, start: int, stop: int) -> NDArray[Any]:
        """The values of rows start..stop, one after another: [(stop - start) * row_values]."""
        if isinstance(self.data, Path):
            count, offset = (stop - start) * self.row_values, start * self.row_bytes
            return np.fromfile(self.data, self.dtype, count, offset=offset)
        return np.ascontiguousarray(self.data[start:stop]).reshape(-1)
