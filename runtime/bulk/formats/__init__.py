"""The formats of shards, one module each, and how a shard is written: whole, or not at all.

A format has `write_tensors`, for columns of latents, `write_images`, or both. What they write
follows from the content alone.
"""

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.bulk.formats import npz, parquet, safetensors, tar
from runtime.bulk.formats.columns import Column
from runtime.bulk.formats.records import Record
from runtime.bulk.packages import pyarrow
from runtime.images.files import renamed

_TENSORS = {
    "safetensors": safetensors.write_tensors,
    "npz": npz.write_tensors,
    "parquet": parquet.write_tensors,
}
_IMAGES = {"tar": tar.write_images, "parquet": parquet.write_images}
TENSOR_FORMATS, IMAGE_FORMATS = tuple(_TENSORS), tuple(_IMAGES)
"""Their names, which are also the suffixes of shards; the first one is the default."""


def check_format(name: str) -> None:
    """InputError where a format needs a package that is not there."""
    if name == "parquet":
        pyarrow("parquet")


def write_tensors(
    path: Path, columns: Sequence[Column], keys: Sequence[str], about: Mapping[str, str]
) -> None:
    """Write columns, and the key of each row, in the format of the path's suffix. `about`: text
    for its metadata. Raises InputError if the system cannot write."""
    # The widest values first: so every column lies at a multiple of its values' size.
    ordered = sorted(columns, key=lambda column: (-column.dtype.itemsize, column.name))
    with _whole(path) as file:
        _TENSORS[path.suffix[1:]](file, ordered, keys, about)


def write_images(path: Path, records: Iterable[Record]) -> None:
    """Write at least one image in the format of the path's suffix. Raises InputError if the system
    cannot write."""
    with _whole(path) as file:
        _IMAGES[path.suffix[1:]](file, records)


@contextmanager
def _whole(path: Path) -> Generator[IO[bytes]]:
    with renamed(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave its name on an empty file
